import {
  type Calendar,
  type CalendarWindow,
  DAYS,
  type Hours,
  isZone,
  OFFICE_HOURS,
  readSpan,
  type Weekday,
} from '../calendar.js'
import { HOLIDAY_REGIONS, isHolidayRule, regionRules } from '../holidays.js'
import { nearest } from './nearest.js'
import { readId, readStrings, sorted } from './parse-value.js'
import type { Field, Source } from './reader.js'

/** Calendars, holidays and windows of one: what a person writes down, with room. */
const MOST = 200
const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d$/

/** One entry of `calendars:`. */
export function readCalendar(source: Source, field: Field): Calendar | null {
  const fields = source.map(field, ['id', 'name', 'zone', 'hours', 'holidays', 'windows'])
  if (!fields) return null
  const id = readId(source, fields, field, 'a calendar')
  const [zoneAt, hours, holidays, windows] = ['zone', 'hours', 'holidays', 'windows'].map((key) => fields.get(key))
  if (!zoneAt) source.error('missing_key', 'a calendar needs a zone', field.at, 'zone: Europe/Berlin')
  const zone = zoneAt ? source.string(zoneAt) : null
  if (zone !== null && !isZone(zone))
    source.error('bad_value', `'${zone.slice(0, 60)}' is no time zone`, zoneAt!.at, 'an IANA name: Europe/Berlin')
  const calendar = {
    hours: hours ? readHours(source, hours) : OFFICE_HOURS,
    holidays: holidays ? readHolidays(source, holidays) : [],
    windows: windows ? readWindows(source, windows) : [],
  }
  return id === null || zone === null ? null : { id, zone, ...calendar }
}

function readHours(source: Source, field: Field): Hours {
  const hours: Hours = {}
  for (const [day, value] of source.map(field, DAYS) ?? []) {
    const spans = source.isList(value) && source.items(value).length === 0 ? [] : readStrings(source, value)
    const wrong = spans.find((span) => readSpan(span) === null)
    if (wrong !== undefined)
      source.error('bad_value', `'${wrong.slice(0, 40)}' is no span of hours`, value.at, 'write 09:00-17:00')
    hours[day as Weekday] = spans
  }
  return hours
}

/** Regions are written out as rules, so that the digest holds what they mean. */
function readHolidays(source: Source, field: Field): string[] {
  const rules = readStrings(source, field).flatMap((text) => {
    const region = regionRules(text)
    if (region !== null) return region
    if (isHolidayRule(text)) return [text]
    const near = nearest(text, HOLIDAY_REGIONS)
    source.error(
      'bad_value',
      `'${text.slice(0, 60)}' is neither a region that is known nor a day`,
      field.at,
      near ? `did you mean '${near}'?` : `regions: ${HOLIDAY_REGIONS.join(', ')}; days: 2026-12-24, 12-24, easter+1`,
    )
    return []
  })
  if (rules.length > MOST) source.error('too_large', `more than ${MOST} holidays`, field.at)
  return sorted(rules)
}

function readWindows(source: Source, field: Field): CalendarWindow[] {
  const items = source.items(field)
  if (items.length > MOST) {
    source.error('too_large', `more than ${MOST} windows`, field.at)
    return []
  }
  const windows = items.flatMap((item) => readWindow(source, item) ?? [])
  return windows.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
}

function readWindow(source: Source, field: Field): CalendarWindow | null {
  const fields = source.map(field, ['name', 'from', 'until', 'weekly'])
  if (!fields) return null
  const name = readId(source, fields, field, 'a window')
  const [from, until, weekly] = ['from', 'until', 'weekly'].map((key) => fields.get(key))
  if ((weekly === undefined) === (from === undefined) || (from === undefined) !== (until === undefined)) {
    source.error('missing_key', "a window needs 'weekly', or 'from' and 'until'", field.at)
    return null
  }
  if (weekly) {
    const hours = readHours(source, weekly)
    return name === null ? null : { name, weekly: hours }
  }
  const [begins, ends] = [readMoment(source, from!), readMoment(source, until!)]
  if (name === null || begins === null || ends === null) return null
  if (begins < ends) return { name, from: begins, until: ends }
  source.error('bad_value', 'ends before it begins', until!.at)
  return null
}

/** A time of the zone's own clocks. */
function readMoment(source: Source, field: Field): string | null {
  const text = source.string(field)
  if (text === null) return null
  const at = MOMENT.test(text) ? Date.parse(`${text}:00Z`) : Number.NaN
  if (!Number.isNaN(at) && new Date(at).toISOString().startsWith(text)) return text
  source.error('bad_value', 'needs a time of the calendar’s own clocks', field.at, 'write 2026-12-01T22:00')
  return null
}
