import { readdirSync, readFileSync } from 'node:fs'

/** Linux counts processor time in hundredths of a second: over a round of seconds that is a few per mille. */
const TICK_US = 10_000

/**
 * Processor time of a process and everything below it, in microseconds: its threads, its living children, and those of its
 * children that ended and were waited for. A Postgres backend that came and went within a round is in it.
 */
export function cpuOf(pid) {
  const { own, reaped } = times(pid)
  return (own + reaped) * TICK_US + childrenOf(pid).reduce((sum, child) => sum + cpuOf(child), 0)
}

/** Resident memory of a process alone, in bytes; 0 when it is gone. */
export function residentOf(pid) {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

/** The name of a process may hold spaces and brackets: fields are counted from behind it. */
function fieldsOf(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}

function times(pid) {
  try {
    const [user, system, reapedUser, reapedSystem] = fieldsOf(pid).slice(11, 15).map(Number)
    return { own: user + system, reaped: reapedUser + reapedSystem }
  } catch {
    return { own: 0, reaped: 0 } // ended between being listed and being read
  }
}

function childrenOf(pid) {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    )
  } catch {
    return []
  }
}
