/**
 * Holidays as rules a policy file spells out, so that they are part of its digest: what a snapshot means never changes because a
 * table of somebody else's did. That is why no holiday library runs here: with one, an update would decide old jobs anew under
 * the old digest (and date-holidays 3.37 brings 46 MB of packages, 25 MB of memory and 93 ms to every start). It serves as the
 * oracle of the tests instead, for every region below.
 *
 * Forms: `2026-12-24` · `12-25` · `easter`, `easter-2`, `easter+39` · `third monday of january`, `last monday of may` ·
 * `wednesday before 11-23`, `monday after 05-01`. A yearly day may end in `or nearest weekday` (a Saturday is kept on the Friday too,
 * a Sunday on the Monday) or `or next weekday` (moves on to the next day that is neither weekend nor holiday).
 */
const GERMANY = ['01-01', 'easter-2', 'easter+1', '05-01', 'easter+39', 'easter+50', '10-03', '12-25', '12-26']
const REFORMATION = '10-31'
const ALL_SAINTS = '11-01'
const CORPUS_CHRISTI = 'easter+60'
const EPIPHANY = '01-06'

/** Public holidays by region (ISO 3166-2), of the whole region only: what some municipalities keep, a file adds. */
const REGIONS: Readonly<Record<string, readonly string[]>> = {
  AT: ['01-01', EPIPHANY, 'easter+1', '05-01', 'easter+39', 'easter+50', CORPUS_CHRISTI].concat([
    '08-15',
    '10-26',
    ALL_SAINTS,
    '12-08',
    '12-25',
    '12-26',
  ]),
  DE: GERMANY,
  'DE-BB': [...GERMANY, 'easter', 'easter+49', REFORMATION],
  'DE-BE': [...GERMANY, '03-08', '2025-05-08', '2028-06-17'],
  'DE-BW': [...GERMANY, EPIPHANY, CORPUS_CHRISTI, ALL_SAINTS],
  'DE-BY': [...GERMANY, EPIPHANY, CORPUS_CHRISTI, ALL_SAINTS],
  'DE-HB': [...GERMANY, REFORMATION],
  'DE-HE': [...GERMANY, CORPUS_CHRISTI],
  'DE-HH': [...GERMANY, REFORMATION],
  'DE-MV': [...GERMANY, '03-08', REFORMATION],
  'DE-NI': [...GERMANY, REFORMATION],
  'DE-NW': [...GERMANY, CORPUS_CHRISTI, ALL_SAINTS],
  'DE-RP': [...GERMANY, CORPUS_CHRISTI, ALL_SAINTS],
  'DE-SH': [...GERMANY, REFORMATION],
  'DE-SL': [...GERMANY, CORPUS_CHRISTI, '08-15', ALL_SAINTS],
  'DE-SN': [...GERMANY, REFORMATION, 'wednesday before 11-23'],
  'DE-ST': [...GERMANY, EPIPHANY, REFORMATION],
  'DE-TH': [...GERMANY, '09-20', REFORMATION],
  FR: ['01-01', 'easter+1', '05-01', '05-08', 'easter+39', 'easter+50', '07-14', '08-15', ALL_SAINTS, '11-11', '12-25'],
  'GB-ENG': ['01-01 or next weekday', 'easter-2', 'easter+1', 'first monday of may', 'last monday of may'].concat([
    'last monday of august',
    '12-25 or next weekday',
    '12-26 or next weekday',
  ]),
  US: ['01-01 or nearest weekday', 'third monday of january', 'third monday of february', 'last monday of may'].concat(
    ['06-19 or nearest weekday', '07-04 or nearest weekday', 'first monday of september', 'second monday of october'],
    ['11-11 or nearest weekday', 'fourth thursday of november', '12-25 or nearest weekday'],
  ),
}

export const HOLIDAY_REGIONS: readonly string[] = Object.keys(REGIONS)

/** The rules a region stands for; null where it is none of `HOLIDAY_REGIONS`. */
export function regionRules(region: string): readonly string[] | null {
  return Object.hasOwn(REGIONS, region) ? REGIONS[region]! : null
}

const DAY_MS = 86_400_000
const WEEKDAYS = ['sunday', 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday']
const ORDINALS = ['first', 'second', 'third', 'fourth', 'last']
const MONTHS = ['january', 'february', 'march', 'april', 'may', 'june', 'july', 'august'].concat([
  'september',
  'october',
  'november',
  'december',
])

const ONCE = /^(\d{4})-(\d\d)-(\d\d)$/
const YEARLY = /^(\d\d)-(\d\d)( or (?:nearest|next) weekday)?$/
const EASTER = /^easter([+-]\d{1,3})?$/
const NTH = new RegExp(`^(${ORDINALS.join('|')}) (${WEEKDAYS.join('|')}) of (${MONTHS.join('|')})$`)
const BESIDE = new RegExp(`^(${WEEKDAYS.join('|')}) (before|after) (\\d\\d)-(\\d\\d)$`)

/** Days since 1970; NaN for a day that no calendar has, so that February 29th is a holiday in leap years only. */
function dayNumber(year: number, month: number, day: number): number {
  const at = new Date(Date.UTC(year, month - 1, day))
  return at.getUTCMonth() === month - 1 && at.getUTCDate() === day ? at.getTime() / DAY_MS : Number.NaN
}
const weekdayOf = (day: number) => (((day + 4) % 7) + 7) % 7
const isWeekend = (day: number) => weekdayOf(day) % 6 === 0

/** Gregorian Easter Sunday (Meeus, Jones, Butcher). */
function easterSunday(year: number): number {
  const [a, b, c] = [year % 19, Math.floor(year / 100), year % 100]
  const h = (19 * a + b - Math.floor(b / 4) - Math.floor((b - Math.floor((b + 8) / 25) + 1) / 3) + 15) % 30
  const l = (32 + 2 * (b % 4) + 2 * Math.floor(c / 4) - h - (c % 4)) % 7
  const m = Math.floor((a + 11 * h + 22 * l) / 451)
  const n = h + l - 7 * m + 114
  return dayNumber(year, Math.floor(n / 31), (n % 31) + 1)
}

function nthWeekday(year: number, month: number, weekday: number, ordinal: string): number {
  if (ordinal === 'last') {
    const end = Date.UTC(year, month, 0) / DAY_MS
    return end - ((weekdayOf(end) - weekday + 7) % 7)
  }
  const first = dayNumber(year, month, 1)
  return first + ((weekday - weekdayOf(first) + 7) % 7) + 7 * ORDINALS.indexOf(ordinal)
}

interface Day {
  day: number
  moves: 'nearest' | 'next' | null
}

/** The day the rule names in that year; NaN where there is none; null where this is no rule. */
function dayOf(rule: string, year: number): Day | null {
  const once = ONCE.exec(rule)
  if (once !== null) {
    const [y, m, d] = once.slice(1).map(Number)
    return { day: y === year ? dayNumber(y, m!, d!) : Number.NaN, moves: null }
  }
  const yearly = YEARLY.exec(rule)
  if (yearly !== null) {
    const moves = yearly[3] === undefined ? null : yearly[3].includes('nearest') ? 'nearest' : 'next'
    return { day: dayNumber(year, Number(yearly[1]), Number(yearly[2])), moves }
  }
  const easter = EASTER.exec(rule)
  if (easter !== null) return { day: easterSunday(year) + Number(easter[1] ?? 0), moves: null }
  const nth = NTH.exec(rule)
  if (nth !== null)
    return { day: nthWeekday(year, MONTHS.indexOf(nth[3]!) + 1, WEEKDAYS.indexOf(nth[2]!), nth[1]!), moves: null }
  const beside = BESIDE.exec(rule)
  if (beside === null) return null
  const [weekday, from] = [WEEKDAYS.indexOf(beside[1]!), dayNumber(year, Number(beside[3]), Number(beside[4]))]
  const back = (weekdayOf(from) - weekday + 6) % 7
  return {
    day: beside[2] === 'before' ? from - back - 1 : from + ((weekday - weekdayOf(from) + 6) % 7) + 1,
    moves: null,
  }
}

/** Whether the text is a rule that names some day; 2028 is a leap year, so the 29th of February is one. */
export function isHolidayRule(rule: string): boolean {
  const once = ONCE.exec(rule)
  const day = dayOf(rule, once === null ? 2028 : Number(once[1]))
  return day !== null && !Number.isNaN(day.day)
}

/** Every holiday of the year as `YYYY-MM-DD`, in order. Rules that are none are skipped: the parser refuses them. */
export function holidaysOf(rules: readonly string[], year: number): string[] {
  // January 1st kept on the Friday before belongs to the year before, so the neighbours are looked at too.
  const days = [year - 1, year, year + 1].flatMap((each) => holidayNumbers(rules, each))
  const texts = days.map((day) => new Date(day * DAY_MS).toISOString().slice(0, 10))
  return [...new Set(texts)].filter((text) => Number(text.slice(0, 4)) === year).sort()
}

function holidayNumbers(rules: readonly string[], year: number): number[] {
  const named = rules.flatMap((rule) => dayOf(rule, year) ?? []).filter(({ day }) => !Number.isNaN(day))
  const days = new Set(named.map(({ day }) => day))
  for (const { day, moves } of named.toSorted((a, b) => a.day - b.day)) {
    if (moves === null || !isWeekend(day)) continue
    if (moves === 'nearest') days.add(weekdayOf(day) === 6 ? day - 1 : day + 1)
    else {
      let next = day + 1
      while (isWeekend(next) || days.has(next)) next++
      days.add(next)
    }
  }
  return [...days]
}
