import { holidaysOf } from './holidays.js'

export const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const
export type Weekday = (typeof DAYS)[number]

/** `09:00-17:00`; one that ends before it begins lasts past midnight and belongs to the day it begins on. */
export type Hours = Partial<Record<Weekday, string[]>>

/** `from` and `until` are times of the zone's own clocks: `2026-12-01T22:00`; the hour that clocks show twice counts twice. */
export type CalendarWindow = { name: string; from: string; until: string } | { name: string; weekly: Hours }

/** When people of one place work, as a policy file declares it. Part of the document, so of the snapshot's digest. */
export interface Calendar {
  id: string
  /** IANA name. */
  zone: string
  /** A day that is not named is closed. */
  hours: Hours
  /** Rules of core/holidays.ts, sorted; regions are written out. Closed whatever the hours say. */
  holidays: string[]
  windows: CalendarWindow[]
}

const OFFICE = ['09:00-17:00']
export const OFFICE_HOURS: Hours = { mon: OFFICE, tue: OFFICE, wed: OFFICE, thu: OFFICE, fri: OFFICE }

/** A calendar that nobody declared: the office hours of a zone, without holidays. */
export function plainCalendar(zone: string): Calendar {
  return { id: zone, zone, hours: OFFICE_HOURS, holidays: [], windows: [] }
}

const ZONE = /^[A-Za-z0-9_+/-]{1,64}$/

/** Whether this machine knows the zone. Its rules come with Node, so nodes of one cluster should run the same release. */
export function isZone(name: string): boolean {
  if (!ZONE.test(name)) return false
  try {
    return formatOf(name) !== null
  } catch {
    return false
  }
}

/** Making one takes about 50 µs; there are some 600 zones in all. */
const formats = new Map<string, Intl.DateTimeFormat>()

function formatOf(zone: string): Intl.DateTimeFormat {
  let format = formats.get(zone)
  if (format === undefined) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      calendar: 'gregory',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      minute: '2-digit',
    })
    formats.set(zone, format)
  }
  return format
}

/** What clocks of the zone show: `2026-03-29`, `03:00`. */
export function wallClock(zone: string, now: number): { date: string; time: string } {
  const parts = new Map(
    formatOf(zone)
      .formatToParts(now)
      .map(({ type, value }) => [type, value]),
  )
  const [year, month, day] = ['year', 'month', 'day'].map((part) => parts.get(part as Intl.DateTimeFormatPartTypes)!)
  return { date: `${year!.padStart(4, '0')}-${month}-${day}`, time: `${parts.get('hour')}:${parts.get('minute')}` }
}

const SPAN = /^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)$/

/** Minutes from the midnight before it begins; past 1440 it reaches into the next day. Null for what is no span. */
export function readSpan(text: string): { from: number; until: number } | null {
  const parts = SPAN.exec(text)
  if (parts === null) return null
  const [h1, m1, h2, m2] = parts.slice(1).map(Number)
  const [from, until] = [h1! * 60 + m1!, h2! * 60 + m2!]
  if (until > 1440 || from === until) return null
  return { from, until: until > from ? until : until + 1440 }
}

const DAY_MS = 86_400_000
const MINUTE_MS = 60_000

type Spans = { from: number; until: number }[][]

const spansOf = (hours: Hours): Spans => DAYS.map((day) => (hours[day] ?? []).flatMap((text) => readSpan(text) ?? []))

interface Minute {
  isOpen: boolean
  isHoliday: boolean
  windows: ReadonlySet<string>
}

/** A calendar ready to be asked. What it says holds for a whole minute, so each minute is worked out once. */
export class Timetable {
  readonly #calendar: Calendar
  readonly #hours: Spans
  readonly #windows: ({ name: string; spans: Spans } | { name: string; from: string; until: string })[]
  readonly #years = new Map<number, ReadonlySet<string>>()
  #minute = Number.NaN
  #now: Minute | null = null

  constructor(calendar: Calendar) {
    this.#calendar = calendar
    this.#hours = spansOf(calendar.hours)
    this.#windows = calendar.windows.map((window) =>
      'weekly' in window ? { name: window.name, spans: spansOf(window.weekly) } : window,
    )
  }

  isOpen(now: number): boolean {
    return this.#at(now).isOpen
  }

  isHoliday(now: number): boolean {
    return this.#at(now).isHoliday
  }

  inWindow(name: string, now: number): boolean {
    return this.#at(now).windows.has(name)
  }

  #at(now: number): Minute {
    const minute = Math.floor(now / MINUTE_MS)
    if (minute === this.#minute && this.#now !== null) return this.#now
    const { date, time } = wallClock(this.#calendar.zone, now)
    const midnight = Date.parse(`${date}T00:00:00Z`)
    const of = { midnight, minutes: Number(time.slice(0, 2)) * 60 + Number(time.slice(3)) }
    const moment = `${date}T${time}`
    const open = this.#windows.filter((window) =>
      'spans' in window ? within(window.spans, of) : window.from <= moment && moment < window.until,
    )
    this.#now = {
      isOpen: within(this.#hours, of, (day) => !this.#isHolidayOn(day)),
      isHoliday: this.#isHolidayOn(midnight),
      windows: new Set(open.map(({ name }) => name)),
    }
    this.#minute = minute
    return this.#now
  }

  #isHolidayOn(midnight: number): boolean {
    const date = new Date(midnight).toISOString().slice(0, 10)
    const year = Number(date.slice(0, 4))
    let days = this.#years.get(year)
    if (days === undefined) {
      days = new Set(holidaysOf(this.#calendar.holidays, year))
      // A replay over recorded decisions may ask about any year.
      if (this.#years.size >= 100) this.#years.clear()
      this.#years.set(year, days)
    }
    return days.has(date)
  }
}

/** Today's spans, and what is left of yesterday's. */
function within(
  spans: Spans,
  { midnight, minutes }: { midnight: number; minutes: number },
  counts: (midnight: number) => boolean = () => true,
): boolean {
  const weekday = new Date(midnight).getUTCDay()
  const holds = (day: number, at: number) => spans[day]!.some(({ from, until }) => from <= at && at < until)
  if (holds(weekday, minutes) && counts(midnight)) return true
  return holds((weekday + 6) % 7, minutes + 1440) && counts(midnight - DAY_MS)
}
