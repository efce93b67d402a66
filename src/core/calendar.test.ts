import { describe, expect, test } from 'vitest'
import { proves } from '../../test/requirements.js'
import { type Calendar, isZone, OFFICE_HOURS, plainCalendar, readSpan, Timetable, wallClock } from './calendar.js'

const at = (text: string) => Date.parse(text)
const berlin = (more: Partial<Calendar> = {}) =>
  new Timetable({ id: 'berlin', zone: 'Europe/Berlin', hours: OFFICE_HOURS, holidays: [], windows: [], ...more })

describe(`${proves('D6')} business hours`, () => {
  test.each([
    // A Friday in winter (UTC+1) and one in summer (UTC+2).
    ['2026-01-09T07:59:59.999Z', false],
    ['2026-01-09T08:00:00.000Z', true],
    ['2026-01-09T15:59:59.999Z', true],
    ['2026-01-09T16:00:00.000Z', false],
    ['2026-07-10T06:59:59.999Z', false],
    ['2026-07-10T07:00:00.000Z', true],
    ['2026-07-10T15:00:00.000Z', false],
    ['2026-01-10T10:00:00.000Z', false], // Saturday
    ['2026-01-11T10:00:00.000Z', false], // Sunday
  ])('%s is %j', (now, open) => expect(berlin().isOpen(at(now))).toBe(open))

  test('a holiday is closed, the day after is not', () => {
    const calendar = berlin({ holidays: ['easter+1', '2026-12-24'] })
    expect(calendar.isOpen(at('2026-04-06T10:00:00Z'))).toBe(false)
    expect(calendar.isHoliday(at('2026-04-06T10:00:00Z'))).toBe(true)
    expect(calendar.isOpen(at('2026-04-07T10:00:00Z'))).toBe(true)
    expect(calendar.isHoliday(at('2026-12-24T22:59:00Z'))).toBe(true)
    // It is the 25th in Berlin by then.
    expect(calendar.isHoliday(at('2026-12-24T23:00:00Z'))).toBe(false)
  })

  test('a zone alone stands for its office hours', () => {
    const tokyo = new Timetable(plainCalendar('Asia/Tokyo'))
    expect(tokyo.isOpen(at('2026-01-09T00:00:00Z'))).toBe(true)
    expect(tokyo.isOpen(at('2026-01-09T08:00:00Z'))).toBe(false)
    // Half hours and a date line: 09:00 of Monday in Kathmandu (+05:45) and in Kiritimati (+14) while it is Sunday in London.
    expect(new Timetable(plainCalendar('Asia/Kathmandu')).isOpen(at('2026-01-12T03:15:00Z'))).toBe(true)
    expect(new Timetable(plainCalendar('Asia/Kathmandu')).isOpen(at('2026-01-12T03:14:00Z'))).toBe(false)
    expect(new Timetable(plainCalendar('Pacific/Kiritimati')).isOpen(at('2026-01-11T19:00:00Z'))).toBe(true)
  })
})

describe(`${proves('D6')} when the clocks change`, () => {
  // Berlin: 2026-03-29 02:00 → 03:00 at 01:00Z; 2026-10-25 03:00 → 02:00 at 01:00Z.
  const sunday = berlin({ hours: { sun: ['02:30-03:30'] } })
  test('forward: the hour that is left out is not open, what is left of it is', () => {
    expect(wallClock('Europe/Berlin', at('2026-03-29T00:59:00Z'))).toEqual({ date: '2026-03-29', time: '01:59' })
    expect(wallClock('Europe/Berlin', at('2026-03-29T01:00:00Z'))).toEqual({ date: '2026-03-29', time: '03:00' })
    expect(sunday.isOpen(at('2026-03-29T00:59:00Z'))).toBe(false)
    expect(sunday.isOpen(at('2026-03-29T01:00:00Z'))).toBe(true)
    expect(sunday.isOpen(at('2026-03-29T01:30:00Z'))).toBe(false)
  })

  test('back: the hour that comes twice is open twice', () => {
    const times = ['00:29', '00:30', '00:59', '01:00', '01:29', '01:30', '01:59', '02:00', '02:29', '02:30']
    const open = times.filter((time) => sunday.isOpen(at(`2026-10-25T${time}:00Z`)))
    expect(open).toEqual(['00:30', '00:59', '01:30', '01:59', '02:00', '02:29'])
  })

  test('a night shift over the change belongs to the day it begins on', () => {
    const night = berlin({ hours: { sat: ['22:00-06:00'] }, holidays: ['2026-03-28'] })
    expect(night.isOpen(at('2026-03-29T03:59:00Z'))).toBe(false) // Saturday was a holiday
    expect(night.isOpen(at('2026-10-24T19:59:00Z'))).toBe(false)
    expect(night.isOpen(at('2026-10-24T20:00:00Z'))).toBe(true)
    expect(night.isOpen(at('2026-10-25T04:59:00Z'))).toBe(true) // 05:59 after nine hours of shift
    expect(night.isOpen(at('2026-10-25T05:00:00Z'))).toBe(false)
  })

  test('a window over the change begins and ends by the clocks of the place', () => {
    const windows = [{ name: 'freeze', from: '2026-03-29T00:30', until: '2026-03-29T03:30' }]
    const frozen = berlin({ windows })
    const during = ['2026-03-28T23:29', '2026-03-28T23:30', '2026-03-29T01:29', '2026-03-29T01:30']
    expect(during.map((time) => frozen.inWindow('freeze', at(`${time}:00Z`)))).toEqual([false, true, true, false])
  })
})

describe(`${proves('D6')} windows`, () => {
  test('weekly and once, under one name', () => {
    const windows = [
      { name: 'maintenance', weekly: { sat: ['22:00-04:00'], wed: ['12:00-12:30'] } },
      { name: 'maintenance', from: '2026-12-01T10:00', until: '2026-12-01T11:00' },
      { name: 'other', weekly: {} },
    ]
    const calendar = berlin({ windows })
    const inside = ['2026-01-10T21:00', '2026-01-11T02:59', '2026-01-07T11:00', '2026-12-01T09:30']
    const outside = ['2026-01-10T20:59', '2026-01-11T03:00', '2026-01-07T11:30', '2026-12-01T10:00', '2026-01-11T21:00']
    for (const time of inside) expect(calendar.inWindow('maintenance', at(`${time}:00Z`)), time).toBe(true)
    for (const time of outside) expect(calendar.inWindow('maintenance', at(`${time}:00Z`)), time).toBe(false)
    expect(calendar.inWindow('other', at('2026-01-07T11:00:00Z'))).toBe(false)
    expect(calendar.inWindow('unknown', at('2026-01-07T11:00:00Z'))).toBe(false)
  })
})

test.each(['9:00-17:00', '09:00-09:00', '09:60-10:00', '24:00-24:00', '09:00-24:30', '09:00 - 17:00', ''])(
  '%j is no span',
  (text) => expect(readSpan(text)).toBeNull(),
)
test('a span may end at midnight, or after it', () => {
  expect(readSpan('18:00-24:00')).toEqual({ from: 1080, until: 1440 })
  expect(readSpan('22:00-04:00')).toEqual({ from: 1320, until: 1680 })
})
test.each([
  ['Europe/Berlin', true],
  ['UTC', true],
  ['Etc/GMT+5', true],
  ['Europe/Bonn', false],
  ['', false],
  ['a'.repeat(65), false],
  ['constructor', false],
])('zone %s: %j', (zone, known) => expect(isZone(zone)).toBe(known))
