import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Captured, type ProcessSpec, runProcess, SpawnError } from './process.js'

function spec(command: string, more: Partial<ProcessSpec> = {}): ProcessSpec {
  return {
    file: '/bin/sh',
    args: ['-c', command],
    cwd: '/',
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin' },
    signal: new AbortController().signal,
    timeoutMs: 20_000,
    maxBytes: 1000,
    overflow: 'count',
    ...more,
  }
}

/** Whether the process is there; a zombie (killed, its parent has not asked yet) is not. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  return !/\) [ZX] /.test(readStat(pid))
}

function readStat(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return ') X '
  }
}

describe('the end of a process', () => {
  test('by itself: exit code, both streams, stdin', async () => {
    const outcome = await runProcess(spec('cat; echo err >&2; exit 3', { stdin: 'in' }))
    expect(outcome).toMatchObject({ exitCode: 3, signal: null, endedBy: 'exit' })
    expect([outcome.stdout.text(), outcome.stderr.text()]).toEqual(['in', 'err\n'])
  })

  test('at its time: the whole group, also children that ignore TERM', async () => {
    const outcome = await runProcess(
      spec(`trap '' TERM; sh -c 'trap "" TERM; echo $$; while :; do sleep 1; done'`, { timeoutMs: 150, graceMs: 50 }),
    )
    expect(outcome).toMatchObject({ endedBy: 'timeout', signal: 'SIGKILL' })
    const child = Number(outcome.stdout.text())
    expect(child).toBeGreaterThan(1)
    expect(isAlive(child)).toBe(false)
  })

  test('at its time, politely: TERM first', async () => {
    const outcome = await runProcess(
      spec(`trap 'echo bye; exit 7' TERM; echo on; while :; do sleep 0.02; done`, { timeoutMs: 150, graceMs: 10_000 }),
    )
    expect(outcome).toMatchObject({ endedBy: 'timeout', exitCode: 7 })
    expect(outcome.stdout.text()).toBe('on\nbye\n')
  })

  test('by an abort, and an abort before the start starts nothing', async () => {
    const controller = new AbortController()
    const running = runProcess(spec('kill -0 $$ && exec sleep 1000', { signal: controller.signal, graceMs: 50 }))
    controller.abort()
    expect(await running).toMatchObject({ endedBy: 'abort', exitCode: null })
    const never = await runProcess(spec('echo ran', { signal: controller.signal }))
    expect(never).toMatchObject({ endedBy: 'abort', exitCode: null, signal: null })
    expect(never.stdout.bytes).toBe(0)
  })

  test('takes what it left in the background along, and does not wait for it', async () => {
    const outcome = await runProcess(spec('sleep 1000 & echo $!'))
    expect(outcome).toMatchObject({ endedBy: 'exit', exitCode: 0 })
    // The signal is sent before this returns; the kernel carries it out a moment later.
    await expect.poll(() => isAlive(Number(outcome.stdout.text()))).toBe(false)
  })

  test('is not held up by a grandchild with a session of its own that keeps the pipe', async () => {
    const outcome = await runProcess(spec('setsid sleep 1000 & echo $!'))
    expect(outcome).toMatchObject({ endedBy: 'exit', exitCode: 0 })
    // What the limit of the promise is: it lives. The test ends it. (`setsid` forks only when it leads a group, which here it does not.)
    process.kill(Number(outcome.stdout.text()), 'SIGKILL')
  })

  test('that never was: no such program, no such folder', async () => {
    await expect(runProcess(spec('', { file: '/no/such/program' }))).rejects.toThrow(SpawnError)
    await expect(runProcess(spec('', { cwd: '/no/such/folder' }))).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('that never reads its stdin', async () => {
    expect(await runProcess(spec('exec true', { stdin: 'x'.repeat(1_000_000) }))).toMatchObject({ exitCode: 0 })
  })
})

describe('its output', () => {
  test('head and tail are kept, the middle is counted', async () => {
    const outcome = await runProcess(
      spec('i=0; while [ $i -lt 2000 ]; do echo "line $i"; i=$((i+1)); done', { maxBytes: 40 }),
    )
    expect(outcome.stdout.bytes).toBe(18_890)
    expect(outcome.stdout.truncated).toBe(true)
    expect(outcome.stdout.text()).toBe('line 0\nline 1\nline 2\n… 18850 bytes left out …\nline 1998\nline 1999\n')
  })

  test('past the limit a process whose head is wanted is stopped', async () => {
    const outcome = await runProcess(spec('exec yes', { maxBytes: 10, overflow: 'stop' }))
    expect(outcome.endedBy).toBe('overflow')
    expect(outcome.stdout.text()).toBe('y\ny\ny\ny\ny\n')
  })

  test('Captured is the stream where it fits, and its ends where it does not, however it is cut into chunks', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ maxLength: 30 })),
        fc.integer({ min: 0, max: 40 }),
        fc.integer({ min: 0, max: 40 }),
        (parts, head, tail) => {
          const all = Buffer.from(parts.join(''))
          const captured = new Captured(head, tail)
          for (const part of parts) captured.add(Buffer.from(part))
          const expected =
            all.length <= head + tail ? all : Buffer.concat([all.subarray(0, head), all.subarray(all.length - tail)])
          expect(captured.bytes).toBe(all.length)
          expect(captured.truncated).toBe(all.length > head + tail)
          expect(captured.buffer().equals(expected)).toBe(true)
        },
      ),
      { verbose: 1 },
    )
  })
})
