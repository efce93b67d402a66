import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'

/** Where the machine has it; null: nowhere known. */
export const CHROMIUM =
  ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync) ?? null

/** One page of a real browser, driven through its debugging pipe: what it does with cookies, policies and forms is its own. */
export interface BrowserPage {
  /** Opens an address and waits until it has loaded. */
  open(url: string): Promise<void>
  /** What an expression is in the page, which is not bound by its content security policy. */
  evaluate<T>(expression: string): Promise<T>
  /** Types into a field, clicks the button of its form, and waits for the page that follows. */
  send(fields: Record<string, string>): Promise<void>
  screenshot(): Promise<Buffer>
  /** What the page said it was not allowed, or could not do. */
  complaints(): string[]
  close(): Promise<void>
}

interface Message {
  id?: number
  method?: string
  // biome-ignore lint/suspicious/noExplicitAny: the protocol's own
  params?: any
  // biome-ignore lint/suspicious/noExplicitAny: the protocol's own
  result?: any
  error?: { message: string }
}

export async function openChromium(path: string): Promise<BrowserPage> {
  const profile = mkdtempSync(join(tmpdir(), 'sallyport-chromium-'))
  const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--remote-debugging-pipe', `--user-data-dir=${profile}`]
  const child = spawn(path, [...flags, 'about:blank'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] })
  const pipe = new Pipe(child)
  const { targetInfos } = await pipe.call('Target.getTargets')
  const { targetId } = targetInfos.find((each: { type: string }) => each.type === 'page')
  const { sessionId } = await pipe.call('Target.attachToTarget', { targetId, flatten: true })
  const call = (method: string, params: object = {}) => pipe.call(method, params, sessionId)
  for (const domain of ['Page', 'Log', 'Runtime']) await call(`${domain}.enable`)
  const evaluate = async (expression: string) => {
    const { result, exceptionDetails } = await call('Runtime.evaluate', { expression, returnByValue: true })
    if (exceptionDetails !== undefined) throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`)
    return result.value
  }
  /** The page that follows has fired its load event. */
  const loaded = async (work: () => Promise<unknown>) => {
    const next = pipe.next('Page.loadEventFired')
    await work()
    await next
  }
  return {
    open: (url) => loaded(() => call('Page.navigate', { url })),
    evaluate,
    async send(fields) {
      for (const [name, value] of Object.entries(fields))
        await evaluate(`document.querySelector('[name="${name}"]').value = ${JSON.stringify(value)}`)
      await loaded(() => evaluate(`document.querySelector('form button').click()`))
    },
    screenshot: async () => Buffer.from((await call('Page.captureScreenshot')).data, 'base64'),
    complaints: () =>
      pipe.seen.filter(({ method }) => method === 'Log.entryAdded').map(({ params }) => params.entry.text as string),
    async close() {
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

/** The debugging protocol on file descriptors 3 and 4: JSON, each message ended by NUL. */
class Pipe {
  readonly seen: Message[] = []
  readonly #to: Writable
  readonly #waiting = new Map<number, (message: Message) => void>()
  readonly #listening: { method: string; heard: () => void }[] = []
  #id = 0
  #rest = ''

  constructor(child: ChildProcess) {
    this.#to = child.stdio[3] as Writable
    ;(child.stdio[4] as Readable).setEncoding('utf8').on('data', (text: string) => this.#read(text))
  }

  // biome-ignore lint/suspicious/noExplicitAny: the protocol's own
  async call(method: string, params: object = {}, sessionId?: string): Promise<any> {
    this.#id += 1
    const id = this.#id
    const answer = new Promise<Message>((resolve) => this.#waiting.set(id, resolve))
    this.#to.write(`${JSON.stringify({ id, method, params, sessionId })}\0`)
    const { result, error } = await answer
    if (error !== undefined) throw new Error(`${method}: ${error.message}`)
    return result
  }

  next(method: string): Promise<void> {
    return new Promise((heard) => this.#listening.push({ method, heard }))
  }

  #read(text: string): void {
    const parts = (this.#rest + text).split('\0')
    this.#rest = parts.pop() ?? ''
    for (const part of parts) this.#take(JSON.parse(part) as Message)
  }

  #take(message: Message): void {
    if (message.id !== undefined) {
      this.#waiting.get(message.id)?.(message)
      this.#waiting.delete(message.id)
      return
    }
    this.seen.push(message)
    const at = this.#listening.findIndex(({ method }) => method === message.method)
    if (at >= 0) this.#listening.splice(at, 1)[0]?.heard()
  }
}
