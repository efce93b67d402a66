import { told } from '../exit.js'
import { paintWord, settings } from '../render.js'
import { type Colors, duration, jsonLine, printable, type Terminal } from '../terminal.js'
import type { Stage } from './stage.js'

/** One step of the demonstration: what it promises, and the play that shows it. */
export interface Scene {
  title: string
  /** What happens and why, before it happens. */
  why: string
  play(stage: Stage, tell: Tell): Promise<void>
}

/** What somebody asks for. The parts of a job, or a note beside the word. */
export interface About {
  input?: unknown
  labels?: Record<string, string>
  note?: string
}

/** What came of it. */
export interface Outcome {
  /** HTTP status, where an answer had one. */
  status?: number
  /** Decision, state or error code. */
  word: string
  why?: string
  rules?: readonly string[]
  /** Whose word it is, where it is not the server's. */
  by?: string
  /** How to take a word that is none of the API's; error codes are bad. */
  tone?: 'good' | 'bad' | 'doubtful'
}

/** How a scene speaks. Everything goes to the terminal at once and into the document of `--json`. */
export interface Tell {
  /** A plain sentence. */
  say(text: string): void
  /** Somebody wants something: `agent  job.repo.read  {"op":"log"}`. */
  ask(who: string, what: string, about?: About): void
  answer(outcome: Outcome): void
  /** Lines as they are, set in. `render` only where they are read by people. */
  show(value: unknown, render: (terminal: Terminal) => string): void
  /** What the step promises and whether it holds. What does not hold ends the step: the rest would only tell what follows. */
  check(promise: string, holds: boolean, seen?: string): void
}

type Told =
  | { say: string }
  | { who: string; ask: string; about: About }
  | { answer: Outcome }
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

const MARGIN = 4
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
    return this.#over && this.steps.length > 0 && this.steps.every(({ ok }) => ok)
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
      if (!(error instanceof NotShown)) this.#marked(color.red('✗'), step.error)
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
    const { color, json } = this.#terminal
    const keep = (told: Told) => void step.told.push(told)
    return {
      say: (text) => {
        if (step.told.length > 0) this.#line('')
        keep({ say: text })
        this.#prose(text)
      },
      ask: (who, what, about = {}) => {
        keep({ who, ask: what, about })
        this.#column(who, [what, requestText(about)], [color.bold, color.dim])
      },
      answer: (outcome) => {
        keep({ answer: outcome })
        const { status = 0, word, why = '', rules = [], by = '' } = outcome
        const lead = status === 0 ? word : `${status} ${word}`
        this.#column(by, [lead, why], [paintOf(outcome, color), (text) => text])
        if (rules.length > 0) this.#column('', [`rules: ${rules.join(', ')}`], [color.dim])
      },
      show: (value, render) => {
        keep({ show: value })
        if (!json) for (const line of render(this.#terminal).split('\n')) this.#line(`${' '.repeat(MARGIN + 2)}${line}`)
      },
      check: (promise, holds, seen = '') => {
        const told = seen === '' ? promise : `${promise} (${seen})`
        keep({ check: promise, pass: holds, seen })
        this.#marked(holds ? color.green('✓') : color.red('✗'), told)
        if (!holds) throw new NotShown(`not so: ${told}`)
      },
    }
  }

  #prose(text: string, paint: Paint = (line) => line): void {
    for (const line of wrapped(text, this.#room(MARGIN))) this.#line(`${' '.repeat(MARGIN)}${paint(line)}`)
  }

  #marked(mark: string, text: string): void {
    const lines = wrapped(text, this.#room(MARGIN + 2))
    this.#line(`${' '.repeat(MARGIN)}${mark} ${lines.join(`\n${' '.repeat(MARGIN + 2)}`)}`)
  }

  /** A name in its column, beside it a word and what there is to say of it, each in its own paint. */
  #column(name: string, [lead, rest = '']: string[], [paintLead, paintRest = paintLead]: [Paint, Paint?]): void {
    const lines = wrapped(rest === '' ? (lead ?? '') : `${lead}  ${rest}`, this.#room(MARGIN + WHO))
    const at = printable(lead ?? '').length
    for (const [i, line] of lines.entries()) {
      const label = this.#terminal.color.cyan((i === 0 ? name : '').padEnd(WHO))
      const text = i === 0 ? `${paintLead(line.slice(0, at))}${paintRest(line.slice(at))}` : paintRest(line)
      this.#line(`${' '.repeat(MARGIN)}${label}${text}`)
    }
  }

  #room(taken: number): number {
    return Math.min(this.#terminal.width ?? WIDEST, WIDEST) - taken
  }

  #line(text: string): void {
    if (!this.#muted) this.#terminal.line(text)
  }
}

type Paint = (text: string) => string

function paintOf({ status = 0, word, tone }: Outcome, color: Colors): Paint {
  if (tone === 'bad' || status >= 400) return color.red
  if (tone !== undefined) return tone === 'good' ? color.green : color.yellow
  return paintWord(word, color)
}

function requestText({ input, labels, note }: About): string {
  const parts = [input === undefined ? null : jsonLine(input), settings(labels), note]
  return parts.filter((part) => part !== null && part !== undefined).join('  ')
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
