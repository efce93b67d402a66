import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

const POLL_MS = 100
/** A claim (see takeOver) is held for a few file operations; one this old belongs to a process that died in them. */
const CLAIM_STALE_MS = 10_000

/**
 * Runs `work` while this process alone holds the lock directory `path`; waits for a living holder, takes over from a
 * dead one. mkdir is the lock because it either makes the folder or fails, on every file system; Node has no flock.
 * `work` is given `share(pid)`: a child so named holds the lock too, for an `npm ci` goes on when its parent is killed.
 */
export async function withLock(path, work, { waiting = announce } = {}) {
  await acquire(path, waiting)
  const share = (pid) => sign(path, [process.pid, pid])
  const release = () => rmSync(path, { recursive: true, force: true })
  process.on('exit', release)
  try {
    return await work(share)
  } finally {
    process.off('exit', release)
    release()
  }
}

async function acquire(path, waiting) {
  let told = false
  while (!tryMake(path) && !takeOver(path)) {
    if (!told) waiting(holdersOf(path)?.[0]?.pid)
    told = true
    await delay(POLL_MS)
  }
}

function announce(pid) {
  console.log(`waiting for another install or build here (pid ${pid ?? 'unknown'}) …`)
}

function tryMake(path) {
  if (!made(path)) return false
  sign(path, [process.pid])
  return true
}

/**
 * Takes a dead holder's lock. Removing the folder and making it again would race: two who both saw the dead holder
 * could each remove the other's new lock. So the folder stays, `claim` inside it admits one at a time, and whoever is
 * in looks again before putting its own name there.
 */
function takeOver(path) {
  if (!abandoned(path)) return false
  const claim = join(path, 'claim')
  try {
    if (!made(claim)) {
      if (ageOf(claim) > CLAIM_STALE_MS) rmSync(claim, { recursive: true, force: true })
      return false
    }
    const free = abandoned(path)
    if (free) sign(path, [process.pid])
    rmSync(claim, { recursive: true, force: true })
    return free
  } catch (error) {
    if (error.code === 'ENOENT') return false // released while we looked: the next round makes it
    throw error
  }
}

function abandoned(path) {
  const holders = holdersOf(path)
  // Not signed yet is a holder between its two steps, unless it has been so for long.
  if (holders === undefined) return ageOf(path) > CLAIM_STALE_MS
  return !holders.some(isAlive)
}

/** Alive means the same process: a pid can be given again, so Linux's start time of it must agree as well. */
function isAlive({ pid, started }) {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if (error.code !== 'EPERM') return false
  }
  return startOf(pid) === started
}

/** Start of a process in clock ticks since boot (field 22 of /proc/PID/stat); null where there is no /proc. */
function startOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null // the name before it may hold spaces and brackets
  } catch {
    return null
  }
}

function sign(path, pids) {
  const draft = join(path, `holders.${process.pid}`)
  writeFileSync(draft, JSON.stringify(pids.map((pid) => ({ pid, started: startOf(pid) }))))
  renameSync(draft, join(path, 'holders'))
}

function holdersOf(path) {
  try {
    return JSON.parse(readFileSync(join(path, 'holders'), 'utf8'))
  } catch {
    return undefined
  }
}

function made(folder) {
  try {
    mkdirSync(folder)
    return true
  } catch (error) {
    if (error.code === 'EEXIST') return false
    throw error
  }
}

function ageOf(path) {
  try {
    return Date.now() - statSync(path).mtimeMs
  } catch {
    return 0
  }
}
