import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'

/** What `npm test` does where a program of the system is missing: installs it if it may, and never goes on without. */

interface Need {
  command: string
  apt: string
  why: string
  atLeast?: number
}

let bin: string
const path = process.env.PATH
beforeEach(() => {
  bin = mkdtempSync(join(tmpdir(), 'sallyport-system-'))
  process.env.PATH = [bin, path].join(delimiter)
})
afterEach(() => {
  process.env.PATH = path
  rmSync(bin, { recursive: true, force: true })
})

const policy = () => join(bin, 'policy-rc.d')
async function systemNeeds(needs: Need[]): Promise<void> {
  // Plain JavaScript, since it runs before anything is installed; hence the import without types.
  const { systemNeeds } = await import(pathToFileURL(join(process.cwd(), 'scripts/system.mjs')).href)
  await systemNeeds(needs, 'the tests', policy())
}
function program(name: string, body: string): void {
  writeFileSync(join(bin, name), `#!/bin/sh\n${body}\n`)
  chmodSync(join(bin, name), 0o755)
}
/** An apt-get that writes down how it was called and makes the program, if its package is asked for. */
function aptGet(makes: string): void {
  program('sudo', 'shift; exec "$@"')
  program(
    'apt-get',
    `echo "$* policy=$(sh ${policy()} 2>/dev/null; echo $?)" >> ${join(bin, 'calls')}
case "$*" in *install*) printf '#!/bin/sh\\necho "${makes} (Debian) 15.9"\\n' > ${join(bin, makes)}; chmod 755 ${join(bin, makes)};; esac`,
  )
}
const calls = () => readFileSync(join(bin, 'calls'), 'utf8').trim().split('\n')

const NEED: Need = { command: 'sallyport-test-server', apt: 'test-server', why: 'a test', atLeast: 15 }

test('what is missing is installed, and its service is not started', async () => {
  aptGet(NEED.command)
  await systemNeeds([NEED])
  expect(calls().slice(-1)).toEqual(['-qq install -y --no-install-recommends test-server policy=101'])
  expect(existsSync(policy())).toBe(false)
})

test('a rule of the system about services stays as it was', async () => {
  aptGet(NEED.command)
  program('policy-rc.d', 'exit 104')
  await systemNeeds([NEED])
  expect(calls().at(-1)).toMatch(/policy=104$/)
  expect(existsSync(policy())).toBe(true)
})

test('nothing is asked of the system where all is there', async () => {
  program('apt-get', `echo "$*" >> ${join(bin, 'calls')}`)
  program(NEED.command, 'echo "server 16.1"')
  await systemNeeds([NEED])
  expect(existsSync(join(bin, 'calls'))).toBe(false)
})

test('what cannot be installed stops the run with the one command that would', async () => {
  program('sudo', 'shift; exec "$@"')
  program('apt-get', 'case "$*" in *install*) echo "no such package"; exit 100;; esac')
  const why = /no such package.*the tests need sallyport-test-server \(a test\): sudo apt-get install -y test-server/s
  await expect(systemNeeds([NEED])).rejects.toThrow(why)
  expect(existsSync(policy())).toBe(false)
})

test('a server that is too old stops it too', async () => {
  program(NEED.command, 'echo "server (Ubuntu) 14.9"')
  await expect(systemNeeds([NEED])).rejects.toThrow(/need sallyport-test-server 15 or newer, and this system has 14/)
})
