import { type ChildProcess, spawn } from 'node:child_process'
import { toText } from './handler.js'

/** What to run and how far it may go. The environment is exactly `env`: nothing is inherited. */
export interface ProcessSpec {
  readonly file: string
  readonly args: readonly string[]
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  readonly stdin?: string
  readonly signal: AbortSignal
  /** From start to the polite kill (TERM). */
  readonly timeoutMs: number
  /** Between TERM and KILL. */
  readonly graceMs?: number
  /** Kept of each stream. */
  readonly maxBytes: number
  /** Past maxBytes: `stop` the process (the head is all that is wanted), or `count` on and keep head and tail. */
  readonly overflow: 'stop' | 'count'
}

export interface ProcessOutcome {
  readonly exitCode: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: Captured
  readonly stderr: Captured
  /** `exit` also for a process that another one killed: then `signal` names the signal. */
  readonly endedBy: 'exit' | 'timeout' | 'abort' | 'overflow'
  readonly durationMs: number
}

/** A started process that could not even be executed (no such file, no permission). Nothing ran. */
export class SpawnError extends Error {
  readonly code: string
  constructor(file: string, code: string) {
    super(`cannot start ${file}: ${code}`)
    this.name = 'SpawnError'
    this.code = code
  }
}

/** The first and the last bytes of a stream; the middle is counted and dropped. */
export class Captured {
  bytes = 0
  private head: Buffer[] = []
  private headBytes = 0
  private tail: Buffer[] = []
  private tailBytes = 0
  private readonly headLimit: number
  private readonly tailLimit: number

  constructor(headLimit: number, tailLimit: number) {
    this.headLimit = headLimit
    this.tailLimit = tailLimit
  }

  add(chunk: Buffer): void {
    this.bytes += chunk.length
    const room = this.headLimit - this.headBytes
    if (room > 0) {
      this.head.push(chunk.subarray(0, room))
      this.headBytes += Math.min(room, chunk.length)
    }
    if (room < chunk.length && this.tailLimit > 0) this.addTail(chunk.subarray(Math.max(room, 0)))
  }

  /** Whole chunks leave at the front: at most one chunk (64 KiB from a pipe) is held beyond the limit. */
  private addTail(chunk: Buffer): void {
    this.tail.push(chunk)
    this.tailBytes += chunk.length
    while (this.tailBytes - (this.tail[0]?.length ?? 0) >= this.tailLimit)
      this.tailBytes -= this.tail.shift()?.length ?? 0
  }

  get truncated(): boolean {
    return this.bytes > this.headLimit + this.tailLimit
  }

  /** The kept bytes; for `stop` processes that is the head. */
  buffer(): Buffer {
    return Buffer.concat([...this.head, this.tailBuffer()])
  }

  /** For a parser: NUL separators stay. Broken UTF-8 becomes U+FFFD. */
  rawText(): string {
    return new TextDecoder().decode(this.buffer())
  }

  text(): string {
    if (!this.truncated) return toText(this.buffer())
    const dropped = this.bytes - this.headLimit - this.tailLimit
    if (this.tailLimit === 0) return toText(Buffer.concat(this.head))
    return `${toText(Buffer.concat(this.head))}\n… ${dropped} bytes left out …\n${toText(this.tailBuffer())}`
  }

  /** The last `limit` bytes as text, for an error message. */
  tailText(limit: number): string {
    const all = this.buffer()
    return toText(all.subarray(Math.max(0, all.length - limit))).trim()
  }

  private tailBuffer(): Buffer {
    const all = Buffer.concat(this.tail)
    return all.subarray(Math.max(0, all.length - this.tailLimit))
  }
}

/** Groups of processes that run now; they must not outlive a worker that ends in whatever orderly way. */
const running = new Set<number>()
process.on('exit', () => {
  for (const group of running) killGroup(group, 'SIGKILL')
})

/** How long an escaped grandchild (it made its own session) may hold our pipes open after the process is gone. */
const PIPE_GRACE_MS = 500

/**
 * Runs one process in a group of its own and waits for its end. The limits kill the whole group, so a shell's children
 * go with it; what is left of the group when the leader exits is killed too: nothing works on after its job.
 * A grandchild that makes its own session escapes that (only a container or cgroup holds it); it cannot hold up the job.
 * @throws SpawnError when it could not be started; every other end, also a kill, is an outcome
 */
export function runProcess(spec: ProcessSpec): Promise<ProcessOutcome> {
  return new Promise((resolve, reject) => {
    const started = performance.now()
    if (spec.signal.aborted) return resolve(neverStarted(spec))
    const child = spawn(spec.file, [...spec.args], {
      cwd: spec.cwd,
      env: { ...spec.env },
      detached: true,
      stdio: 'pipe',
    })
    const { pid } = child
    // The reason is in the event, and the event always comes: without a pid there is no process to wait for.
    if (pid === undefined)
      return void child.once('error', (error: NodeJS.ErrnoException) =>
        reject(new SpawnError(spec.file, error.code ?? 'UNKNOWN')),
      )
    running.add(pid)

    let endedBy: ProcessOutcome['endedBy'] = 'exit'
    let graceTimer: NodeJS.Timeout | undefined
    const end = (reason: 'timeout' | 'abort' | 'overflow') => {
      if (endedBy !== 'exit') return
      endedBy = reason
      killGroup(pid, 'SIGTERM')
      graceTimer = setTimeout(() => killGroup(pid, 'SIGKILL'), spec.graceMs ?? 1000)
    }
    const onAbort = () => end('abort')
    const timer = setTimeout(() => end('timeout'), Math.max(1, spec.timeoutMs))
    spec.signal.addEventListener('abort', onAbort, { once: true })

    const [stdout, stderr] = captureStreams(child, spec, () => end('overflow'))
    feedStdin(child, spec.stdin)
    child.on('error', () => {}) // a failed kill is reported here; the exit that matters still comes
    child.once('exit', () => {
      running.delete(pid)
      clearTimeout(timer)
      clearTimeout(graceTimer)
      spec.signal.removeEventListener('abort', onAbort)
      // The group id cannot have been given away while a member lives; with no member left this is ESRCH.
      killGroup(pid, 'SIGKILL')
      const pipeTimer = setTimeout(() => {
        child.stdout?.destroy()
        child.stderr?.destroy()
      }, PIPE_GRACE_MS)
      child.once('close', (exitCode, signal) => {
        clearTimeout(pipeTimer)
        resolve({ exitCode, signal, stdout, stderr, endedBy, durationMs: Math.round(performance.now() - started) })
      })
    })
  })
}

function captureStreams(child: ChildProcess, spec: ProcessSpec, onOverflow: () => void): [Captured, Captured] {
  const capture = (stream: NodeJS.ReadableStream | null) => {
    const half = Math.ceil(spec.maxBytes / 2)
    const captured =
      spec.overflow === 'count' ? new Captured(half, spec.maxBytes - half) : new Captured(spec.maxBytes, 0)
    stream?.on('data', (chunk: Buffer) => {
      captured.add(chunk)
      if (spec.overflow === 'stop' && captured.truncated) onOverflow()
    })
    stream?.on('error', () => {})
    return captured
  }
  return [capture(child.stdout), capture(child.stderr)]
}

function feedStdin(child: ChildProcess, text: string | undefined): void {
  child.stdin?.on('error', () => {}) // EPIPE: it ended, or closed stdin, without reading all of it
  child.stdin?.end(text ?? '')
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal)
  } catch {
    // ESRCH: it is gone, which is what was wanted
  }
}

function neverStarted(spec: ProcessSpec): ProcessOutcome {
  const nothing = () => new Captured(spec.maxBytes, 0)
  return { exitCode: null, signal: null, stdout: nothing(), stderr: nothing(), endedBy: 'abort', durationMs: 0 }
}
