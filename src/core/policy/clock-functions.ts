import { type Calendar, isZone, plainCalendar, Timetable } from '../calendar.js'

/** Ask a calendar about now: the moment is handed to them in the parsed tree. */
export const CLOCK_FUNCTIONS = ['business_hours', 'is_holiday', 'in_window'] as const
export type ClockFunction = (typeof CLOCK_FUNCTIONS)[number]

/** A zone stands for its own office hours; whatever else is unknown throws, and so denies. */
export function askedOf(calendars: readonly Calendar[]): Record<ClockFunction, (name: string, now: number) => boolean> {
  const timetables = new Map(calendars.map((calendar) => [calendar.id, new Timetable(calendar)]))
  const windows = new Map(
    calendars.flatMap(({ id, windows }) => windows.map(({ name }) => [name, timetables.get(id)!] as const)),
  )
  const known = (table: Timetable | undefined): Timetable => {
    if (table === undefined) throw new Error('no such calendar')
    return table
  }
  const calendarOf = (name: string): Timetable => {
    if (!timetables.has(name) && isZone(name)) timetables.set(name, new Timetable(plainCalendar(name)))
    return known(timetables.get(name))
  }
  return {
    business_hours: (name, now) => calendarOf(name).isOpen(now),
    is_holiday: (name, now) => known(timetables.get(name)).isHoliday(now),
    in_window: (name, now) => known(windows.get(name)).inWindow(name, now),
  }
}
