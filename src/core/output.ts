import type { Claim } from './job.js'
import type { Json } from './json.js'
import { DETECTORS as CATALOGUE, type Detector, type DetectorClass } from './output/detectors.js'
import { ALLOW, QUARANTINE, type Severity } from './output/redact.js'
import { Unscreenable, Walk } from './output/tree.js'
import type { Matcher, OutputRule } from './policy/document.js'
import { valueConditions, valueMatches } from './policy/match.js'
import { topicMatches } from './policy/topics.js'

export type Verdict = 'ALLOW' | 'REDACT' | 'QUARANTINE'

/** Every detector there is; `output_rules` speak of them by name or by class. */
export const DETECTORS: readonly Detector[] = CATALOGUE

/** Something was found. What was found is never in here, nor in `path`, whose keys are the redacted ones. */
export interface Finding {
  detector: string
  class: DetectorClass
  /** JSON pointer, '' for a bare string; a find in a key of an object stands at `<pointer of the object>/~key`. */
  path: string
  count: number
}

export interface Screened {
  verdict: Verdict
  /** ALLOW: the input itself. REDACT: a copy with `[REDACTED:<detector>]` in place of each find. QUARANTINE: null. */
  output: Json
  findings: Finding[]
  /** Why the value was held back unread: it could not be screened. */
  fault?: string
}

export interface ScreenedText {
  verdict: Verdict
  /** '' for QUARANTINE. */
  text: string
  findings: Finding[]
  fault?: string
}

export interface OutputPolicy {
  /** What to do with a find: the severest action of the output rules that speak of the detector or its class. */
  action(detector: string, cls: DetectorClass): Verdict
}

const DEFAULT_ACTION: Record<DetectorClass, Verdict> = { secret: 'REDACT', private_key: 'QUARANTINE', pii: 'REDACT' }

/** Holds where no output rule speaks of a class. */
export const defaultOutputPolicy: OutputPolicy = { action: (_detector, cls) => DEFAULT_ACTION[cls] }

const VERDICTS: readonly Verdict[] = ['ALLOW', 'REDACT', 'QUARANTINE']

/** Findings beyond this many places are counted at the path `…`: a hostile result must not make a report larger than itself. */
const FINDINGS_MAX = 1000

/** Collects what is found in one value. */
class Report {
  private readonly policy: OutputPolicy
  private readonly severities: (Severity | undefined)[] = []
  private readonly byPlace = new Map<string, Finding>()
  private severity: Severity = ALLOW

  constructor(policy: OutputPolicy) {
    this.policy = policy
  }

  severityOf(rank: number): Severity {
    let s = this.severities[rank]
    if (s === undefined) {
      const d = CATALOGUE[rank] as Detector
      // An action that is none of the three is a fault in a policy, and faults close.
      const at = VERDICTS.indexOf(this.policy.action(d.name, d.class))
      s = at < 0 ? QUARANTINE : (at as Severity)
      this.severities[rank] = s
    }
    return s
  }

  note(rank: number, path: string): void {
    this.severity = Math.max(this.severity, this.severityOf(rank)) as Severity
    const d = CATALOGUE[rank] as Detector
    const place = this.byPlace.size < FINDINGS_MAX || this.byPlace.has(`${d.name} ${path}`) ? path : '…'
    const known = this.byPlace.get(`${d.name} ${place}`)
    if (known !== undefined) known.count++
    else this.byPlace.set(`${d.name} ${place}`, { detector: d.name, class: d.class, path: place, count: 1 })
  }

  get findings(): Finding[] {
    return [...this.byPlace.values()]
  }

  get verdict(): Verdict {
    return VERDICTS[this.severity] as Verdict
  }
}

/**
 * Screens one JSON value, keys included. It never throws for what the value holds: what cannot be screened (nesting past the
 * bound, a redaction that does not settle) is QUARANTINE with a `fault`.
 */
export function screen(value: Json, policy: OutputPolicy): Screened {
  const report = new Report(policy)
  try {
    const output = new Walk(report).screen(value)
    const { verdict, findings } = report
    return { verdict, output: verdict === 'QUARANTINE' ? null : output, findings }
  } catch (error) {
    if (!(error instanceof Unscreenable)) throw error
    return { verdict: 'QUARANTINE', output: null, findings: report.findings, fault: error.message }
  }
}

/** `screen` for callers that must go on whatever happens: a fault in the scanner or in the policy holds the value back. */
export function screenOrQuarantine(value: Json, policy: OutputPolicy): Screened {
  try {
    return screen(value, policy)
  } catch (error) {
    return { verdict: 'QUARANTINE', output: null, findings: [], fault: error instanceof Error ? error.name : 'unknown' }
  }
}

/** Screens a bare text: an error message, a line of progress. As `screenOrQuarantine`, it never throws. */
export function screenText(text: string, policy: OutputPolicy): ScreenedText {
  const { output, ...rest } = screenOrQuarantine(text, policy)
  return { ...rest, text: typeof output === 'string' ? output : '' }
}

/**
 * What the output rules say about the results of one job. Within a rule a detector's own entry beats its class; over all
 * matching rules the severest action wins; where none speaks, `defaultOutputPolicy` does.
 */
export function outputPolicyFor(rules: readonly OutputRule[], claim: Claim): OutputPolicy {
  const matching = rules.filter((rule) => speaksOf(rule.match, claim))
  if (matching.length === 0) return defaultOutputPolicy
  return {
    action(detector, cls) {
      const said = matching.flatMap(({ on }) => own(on, detector) ?? own(on, cls) ?? [])
      if (said.length === 0) return defaultOutputPolicy.action(detector, cls)
      return said.reduce((a, b) => (VERDICTS.indexOf(b) > VERDICTS.indexOf(a) ? b : a))
    },
  }
}

function own<T>(record: Record<string, T>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined
}

function speaksOf(match: Matcher, claim: Claim): boolean {
  if (match.topic !== undefined && !match.topic.some((pattern) => topicMatches(pattern, claim.topic))) return false
  if (match.risk_tags !== undefined) {
    const has = (tag: string) => claim.risk_tags.includes(tag)
    if (!('all' in match.risk_tags ? match.risk_tags.all.every(has) : match.risk_tags.any.some(has))) return false
  }
  return valueConditions(match).every(({ field, name, values }) => {
    const value = field === null ? own(claim.labels, name) : claim[field]
    return typeof value === 'string' && values.some((pattern) => valueMatches(pattern, value))
  })
}
