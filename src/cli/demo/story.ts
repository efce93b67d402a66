import { told } from '../exit.js'
import { paintWord } from '../render.js'
import { duration, jsonLine, printable, type Terminal } from '../terminal.js'
import type { Stage } from './stage.js'

/** One step of the demonstration: what it promises, and the play that shows it. */
export interface Scene {
  title: string
  /** What happens and why, before it happens. */
  why: string
  play(stage: Stage, tell: Tell): Promise<void>
}

/** How a scene speaks. Everything goes to the terminal at once and into the document of `--json`. */
export interface Tell {
  /** A plain sentence. */
  say(text: string): void
  /** Somebody wants something: `agent  job.repo.read  {"op":"log"}`. */
  ask(who: string, what: string, about?: unknown): void
  /** What came of it: a word that decides, and why. */
  answer(word: string, why: string): void
  /** Lines as they are, set in. `render` only where a terminal shows them. */
  show(value: unknown, render: (terminal: Terminal) => string): void
  /** What the step promises and whether it holds. What does not hold ends the step: the rest would only tell what follows. */
  check(promise: string, holds: boolean, seen?: string): void
}

type Told =
  | { say: string }
  | { who: string; ask: string; about: unknown }
  | { answer: string; why: string }
  | { show: unknown }
  | { check: string; pass: boolean; seen: string }

export interface Step {
  step: number
  title: string
  why: string
  ok: boolean
  ms: number
  told: Told[]
  /** Why it ended before its end. */
  error?: string
}

class NotShown extends Error {}

const MARGIN = '    '
const WHO = 10
/** Beyond this a line of prose is hard to follow, however wide the terminal. */
const WIDEST = 100

export class Story {
  readonly steps: Step[] = []
  readonly #terminal: Terminal
  #muted = false
  #over = false

  constructor(terminal: Terminal) {
    this.#terminal = terminal
  }

  get ok(): boolean {
    return this.steps.length > 0 && this.steps.every(({ ok }) => ok)
  }

  /** Every scene was played to its end. */
  get isOver(): boolean {
    return this.#over
  }
  end(): void {
    this.#over = true
  }

  /** Nothing is told any more: whoever listened has gone. */
  mute(): void {
    this.#muted = true
  }

  async play(scene: Scene, stage: Stage): Promise<void> {
    const { color } = this.#terminal
    const step: Step = { step: this.steps.length + 1, title: scene.title, why: scene.why, ok: false, ms: 0, told: [] }
    const began = performance.now()
    this.#line(`\n${color.bold(`${String(step.step).padStart(2)}  ${scene.title}`)}`)
    this.#prose(scene.why, color.dim)
    this.#line('')
    try {
      await scene.play(stage, this.#tell(step))
      step.ok = step.told.some((told) => 'check' in told)
    } catch (error) {
      step.error = reason(error)
      if (!(error instanceof NotShown)) this.#line(`${MARGIN}${color.red('✗')} ${printable(step.error)}`)
    }
    step.ms = Math.round(performance.now() - began)
    if (!this.#muted) this.steps.push(step)
  }

  /** The last words. */
  close(ms: number): void {
    const { color } = this.#terminal
    const failed = this.steps.filter(({ ok }) => !ok)
    const checks = this.steps.flatMap(({ told }) => told).filter((each) => 'check' in each).length
    const shown = `${this.steps.length - failed.length} of ${this.steps.length} steps showed what they promise`
    const paint = failed.length === 0 ? color.green : color.red
    this.#line(`\n${paint(color.bold(shown))}${color.dim(`   ${checks} checks, ${duration(ms)}`)}`)
    for (const { step, title, error } of failed)
      this.#line(`${color.red('✗')} step ${step}, ${title}: ${printable(error ?? 'nothing was checked')}`)
  }

  #tell(step: Step): Tell {
    const { color } = this.#terminal
    const keep = (told: Told) => void step.told.push(told)
    return {
      say: (text) => {
        keep({ say: text })
        this.#prose(text)
      },
      ask: (who, what, about) => {
        keep({ who, ask: what, about: about ?? null })
        const details = about === undefined ? '' : typeof about === 'string' ? about : jsonLine(about)
        this.#hanging(who, `${what}  ${details}`, (text, first) =>
          first && text.startsWith(what) ? `${color.bold(what)}${color.dim(text.slice(what.length))}` : color.dim(text),
        )
      },
      answer: (word, why) => {
        keep({ answer: word, why })
        const paint = paintWord(word, color)
        this.#hanging('', `${word}  ${why}`, (text, first) =>
          first ? `${paint(word)}${text.slice(word.length)}` : text,
        )
      },
      show: (value, render) => {
        keep({ show: value })
        if (!this.#terminal.json) this.#block(render(this.#terminal))
      },
      check: (promise, holds, seen = '') => {
        keep({ check: promise, pass: holds, seen })
        const mark = holds ? color.green('✓') : color.red('✗')
        const lines = wrapped(`${promise}${seen === '' ? '' : ` (${seen})`}`, this.#room(MARGIN.length + 2))
        this.#line(`${MARGIN}${mark} ${lines.join(`\n${MARGIN}  `)}`)
        if (!holds) throw new NotShown(`not so: ${promise}${seen === '' ? '' : ` (${seen})`}`)
      },
    }
  }

  #prose(text: string, paint = (line: string) => line): void {
    for (const line of wrapped(text, this.#room(MARGIN.length))) this.#line(`${MARGIN}${paint(line)}`)
  }

  /** A name in its column, the text beside it. */
  #hanging(name: string, text: string, paint: (line: string, first: boolean) => string): void {
    const lines = wrapped(text, this.#room(MARGIN.length + WHO))
    for (const [i, line] of lines.entries()) {
      const label = (i === 0 ? name : '').padEnd(WHO)
      this.#line(`${MARGIN}${this.#terminal.color.cyan(label)}${paint(line, i === 0)}`)
    }
  }

  #block(text: string): void {
    for (const line of text.split('\n')) this.#line(`${MARGIN}${' '.repeat(WHO)}${line}`)
  }

  #room(taken: number): number {
    return Math.min(this.#terminal.width ?? WIDEST, WIDEST) - taken
  }

  #line(text: string): void {
    if (!this.#muted) this.#terminal.line(text)
  }
}

/** As lines of at most `width`; a word longer than that is cut, so that the frame holds whatever comes back. */
export function wrapped(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of printable(text).split(/(?<= )/)) {
    if (line !== '' && line.length + word.trimEnd().length > width) {
      lines.push(line.trimEnd())
      line = ''
    }
    line += word
    for (; line.trimEnd().length > width; line = line.slice(width)) lines.push(line.slice(0, width))
  }
  if (line.trimEnd() !== '' || lines.length === 0) lines.push(line.trimEnd())
  return lines
}

function reason(error: unknown): string {
  if (error instanceof NotShown) return error.message
  const { code, message } = told(error)
  return `${code}: ${message}`
}
