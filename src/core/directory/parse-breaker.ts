import { BREAKER_TERMS, type BreakerTerms } from '../breaker.js'
import { readDuration } from '../policy/parse-value.js'
import type { Field, Source } from '../policy/reader.js'

const MOST_OUTCOMES = 1000
const LONGEST_MS = 24 * 3_600_000

/** `breaker: { failures: 3, rate: 0.5, of: 20, cool_down: 10m }`; what is left out is as for every agent. */
export function readBreaker(source: Source, field: Field): BreakerTerms | null {
  const fields = source.map(field, ['failures', 'rate', 'of', 'cool_down'])
  if (fields === null) return null
  const [failures, rate, of, cool] = ['failures', 'rate', 'of', 'cool_down'].map((key) => fields.get(key))
  const terms: BreakerTerms = { ...BREAKER_TERMS }
  if (failures !== undefined) terms.failures = count(source, failures) ?? terms.failures
  if (of !== undefined) terms.of = count(source, of) ?? terms.of
  if (rate !== undefined) terms.rate = share(source, rate)
  if (of !== undefined && rate === undefined)
    source.error('missing_key', "'of' is what a rate is of", of.at, 'rate: 0.5')
  const cool_down_ms = cool === undefined ? null : readDuration(source, cool)
  if (cool !== undefined && (cool_down_ms ?? 0) > LONGEST_MS) source.error('bad_value', 'at most 24h', cool.at)
  return { ...terms, cool_down_ms: cool_down_ms ?? terms.cool_down_ms }
}

function count(source: Source, field: Field): number | null {
  const whole = source.whole(field, 1)
  if (whole === null || whole <= MOST_OUTCOMES) return whole
  source.error('bad_value', `at most ${MOST_OUTCOMES}`, field.at)
  return null
}

function share(source: Source, field: Field): number | null {
  const value = source.json(field)
  if (typeof value === 'number' && value > 0 && value <= 1) return value
  source.error('bad_value', 'a rate is a share above 0, at most 1', field.at, 'rate: 0.5')
  return null
}
