import Holidays from 'date-holidays'
import { describe, expect, test } from 'vitest'
import { proves } from '../../test/requirements.js'
import { HOLIDAY_REGIONS, holidaysOf, isHolidayRule, regionRules } from './holidays.js'

/** Kept data of others as the oracle: what it calls public in each region, over years with every kind of Easter and weekday. */
describe(`${proves('D6')} the holidays of a region`, () => {
  test.each(HOLIDAY_REGIONS)('%s', (region) => {
    const oracle = new Holidays(...(region.split('-') as [string, string]))
    for (let year = 2024; year <= 2050; year++) {
      const public_ = oracle.getHolidays(year).filter(({ type }) => type === 'public')
      const days = [...new Set(public_.map(({ date }) => date.slice(0, 10)))].filter((day) => day.startsWith(`${year}`))
      if (region === 'US') days.push(...veteransDay(year))
      expect(holidaysOf(regionRules(region)!, year), `${region} ${year}`).toEqual(days.sort())
    }
  })
})

/** 5 U.S.C. 6103(b) and E.O. 11582 keep every holiday of a weekend on the Friday or Monday beside it; the oracle leaves out November 11th. */
function veteransDay(year: number): string[] {
  const kept: Record<number, string> = { 0: '12', 6: '10' }
  const day = kept[new Date(Date.UTC(year, 10, 11)).getUTCDay()]
  return day === undefined ? [] : [`${year}-11-${day}`]
}

describe('rules', () => {
  test.each([
    ['2026-12-24', ['2026-12-24']],
    ['12-24', ['2026-12-24']],
    ['02-29', []],
    ['easter', ['2026-04-05']],
    ['easter-2', ['2026-04-03']],
    ['first monday of june', ['2026-06-01']],
    ['last friday of february', ['2026-02-27']],
    ['wednesday before 11-23', ['2026-11-18']],
    ['monday before 11-23', ['2026-11-16']],
    ['monday after 11-23', ['2026-11-30']],
    ['12-26 or next weekday', ['2026-12-26', '2026-12-28']],
    ['12-26 or nearest weekday', ['2026-12-25', '2026-12-26']],
  ])('%s', (rule, days) => {
    expect(isHolidayRule(rule)).toBe(true)
    expect(holidaysOf([rule], 2026)).toEqual(days)
  })

  test('January 1st on a Saturday is kept in the year before', () => {
    expect(holidaysOf(['01-01 or nearest weekday'], 2027)).toEqual(['2027-01-01', '2027-12-31'])
  })

  test.each(['', '13-01', '02-30', '2026-02-29', 'easter+', 'fifth monday of may', 'tomorrow', '12-24 ', '12-24 or'])(
    '%j is none',
    (rule) => expect(isHolidayRule(rule)).toBe(false),
  )
})
