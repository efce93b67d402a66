import { Worker } from 'node:worker_threads'
import { Problem } from '../errors.js'
import type { Clock } from './clock.js'

/** The thread that had the task ended or took too long. There is no answer, and there will be none. */
export class ThreadLost extends Error {
  readonly why: 'died' | 'timeout'

  constructor(why: 'died' | 'timeout', cause?: unknown) {
    super(why === 'died' ? 'The thread died' : 'The thread took too long', { cause })
    this.name = 'ThreadLost'
    this.why = why
  }
}

export interface ThreadLimits {
  threads: number
  /** Tasks that may wait for a thread; one more is refused. */
  waiting: number
  /** From when a thread is given a task. */
  timeoutMs: number
  /** Heap of each thread; one that needs more dies. */
  memoryMb: number
}

export interface Threads<Task, Answer> {
  /** Throws ThreadLost; Problem `overloaded` or `draining`, and then nothing was begun. */
  run(task: Task): Promise<Answer>
  /** Ends the threads; what they still have is lost. */
  close(): Promise<void>
}

interface Call<Task, Answer> {
  task: Task
  resolve(answer: Answer): void
  reject(error: Error): void
}

interface Thread<Task, Answer> {
  worker: Worker
  call: Call<Task, Answer> | null
  /** Stops the clock of the call. */
  cancel(): void
}

/**
 * Threads that run `file`, each one task at a time: it posts one answer for each message. They start with the first task that
 * finds none free. A thread that dies or is late is ended, its task is lost, and the next task gets a new thread: a task that
 * kills cannot kill twice, for nothing is tried again here.
 */
export function openThreads<Task, Answer>(file: URL, limits: ThreadLimits, clock: Clock): Threads<Task, Answer> {
  const threads = new Set<Thread<Task, Answer>>()
  const idle: Thread<Task, Answer>[] = []
  const waiting: Call<Task, Answer>[] = []
  let closed = false

  const give = (thread: Thread<Task, Answer>, call: Call<Task, Answer>) => {
    thread.call = call
    thread.cancel = clock.after(limits.timeoutMs, () => lose(thread, new ThreadLost('timeout')))
    thread.worker.ref()
    try {
      thread.worker.postMessage(call.task)
    } catch (error) {
      lose(thread, new ThreadLost('died', error))
    }
  }

  const start = (): Thread<Task, Answer> => {
    const worker = new Worker(file, { resourceLimits: { maxOldGenerationSizeMb: limits.memoryMb } })
    const thread: Thread<Task, Answer> = { worker, call: null, cancel: () => {} }
    threads.add(thread)
    worker.on('message', (answer: Answer) => {
      const { call } = thread
      if (call === null || !threads.has(thread)) return
      thread.cancel()
      thread.call = null
      call.resolve(answer)
      const next = waiting.shift()
      if (next !== undefined) return give(thread, next)
      idle.push(thread)
      worker.unref()
    })
    worker.on('messageerror', (error) => lose(thread, new ThreadLost('died', error)))
    worker.on('error', (error) => lose(thread, new ThreadLost('died', error)))
    worker.on('exit', (code) => lose(thread, new ThreadLost('died', new Error(`it ended with ${code}`))))
    return thread
  }

  const lose = (thread: Thread<Task, Answer>, error: ThreadLost) => {
    if (!threads.delete(thread)) return
    thread.cancel()
    if (idle.includes(thread)) idle.splice(idle.indexOf(thread), 1)
    void thread.worker.terminate()
    thread.call?.reject(error)
    const next = closed ? undefined : waiting.shift()
    if (next !== undefined) give(start(), next)
  }

  return {
    run(task) {
      return new Promise((resolve, reject) => {
        if (closed) return reject(new Problem('draining'))
        const call = { task, resolve, reject }
        const free = idle.pop() ?? (threads.size < limits.threads ? start() : undefined)
        if (free !== undefined) return give(free, call)
        if (waiting.length >= limits.waiting)
          return reject(new Problem('overloaded', undefined, { retry_after_ms: 1000 }))
        waiting.push(call)
      })
    },
    async close() {
      closed = true
      for (const call of waiting.splice(0)) call.reject(new Problem('draining'))
      const workers = [...threads].map((thread) => thread.worker)
      for (const thread of [...threads]) lose(thread, new ThreadLost('died'))
      await Promise.all(workers.map((worker) => worker.terminate()))
    },
  }
}
