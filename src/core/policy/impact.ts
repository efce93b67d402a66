import { canonical } from '../canonical.js'
import type { Json } from '../json.js'
import { DECISIONS, type DecisionWord } from './document.js'

/** A decision as it was recorded, or as another policy would make it. */
export interface Outcome {
  decision: DecisionWord
  reason: string
  rules: readonly string[]
  constraints: Record<string, unknown>
}

export interface ImpactExample {
  decision_id: string
  job_id: string | null
  at: number
  agent: string
  topic: string
  before: Pick<Outcome, 'decision' | 'reason' | 'rules'>
  after: Pick<Outcome, 'decision' | 'reason' | 'rules'>
}

/** Decisions that would have been others, alike in both words. */
export interface ImpactChange {
  before: DecisionWord
  after: DecisionWord
  /** Which way it moves what agents may do; `constraints`: the same word, bound to something else. */
  effect: 'tighter' | 'looser' | 'constraints'
  count: number
  /** The newest first. */
  examples: ImpactExample[]
}

export interface ImpactReport {
  looked_at: number
  unchanged: number
  /** Whose payload was erased: nobody can decide them again. */
  undecidable: number
  /** Time of the oldest decision looked at, epoch ms; null where there was none. */
  oldest_at: number | null
  changes: ImpactChange[]
}

const EXAMPLES = 5

/** What a policy would have changed, added up over recorded decisions. */
export class Impact {
  readonly #changes = new Map<string, ImpactChange>()
  #looked = 0
  #unchanged = 0
  #undecidable = 0
  #oldest: number | null = null

  add(
    about: Pick<ImpactExample, 'decision_id' | 'job_id' | 'at' | 'agent' | 'topic'>,
    before: Outcome,
    after: Outcome | null,
  ): void {
    this.#looked++
    this.#oldest = Math.min(this.#oldest ?? about.at, about.at)
    if (after === null) {
      this.#undecidable++
      return
    }
    const effect = effectOf(before, after)
    if (effect === null) {
      this.#unchanged++
      return
    }
    const key = `${before.decision}/${after.decision}`
    const change = this.#changes.get(key) ?? {
      before: before.decision,
      after: after.decision,
      effect,
      count: 0,
      examples: [],
    }
    this.#changes.set(key, change)
    change.count++
    if (change.examples.length < EXAMPLES)
      change.examples.push({ ...about, before: shown(before), after: shown(after) })
  }

  /** What lets more through stands first: that is what a reviewer must see. */
  report(): ImpactReport {
    const order = ['looser', 'tighter', 'constraints']
    return {
      looked_at: this.#looked,
      unchanged: this.#unchanged,
      undecidable: this.#undecidable,
      oldest_at: this.#oldest,
      changes: [...this.#changes.values()].sort(
        (one, other) => order.indexOf(one.effect) - order.indexOf(other.effect) || other.count - one.count,
      ),
    }
  }
}

const shown = ({ decision, reason, rules }: Outcome) => ({ decision, reason, rules: [...rules] })

function effectOf(before: Outcome, after: Outcome): ImpactChange['effect'] | null {
  const severity = (word: DecisionWord) => DECISIONS.indexOf(word)
  if (before.decision !== after.decision)
    return severity(after.decision) < severity(before.decision) ? 'tighter' : 'looser'
  // What a denial would have been bound to binds nobody.
  if (before.decision === 'DENY') return null
  const same = canonical(before.constraints as Json) === canonical({ ...after.constraints } as Json)
  return same ? null : 'constraints'
}
