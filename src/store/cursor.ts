import { Problem } from '../errors.js'

/** Keyset cursors: where the last page ended, opaque to callers. Pages stay right while rows are added in front. */
export type Position = [number, string]

export function encodeCursor(position: Position): string {
  return Buffer.from(JSON.stringify(position)).toString('base64url')
}

export function decodeCursor(cursor: string | undefined): Position | null {
  if (cursor === undefined || cursor === '') return null
  try {
    const value: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString())
    if (
      Array.isArray(value) &&
      value.length === 2 &&
      Number.isSafeInteger(value[0]) &&
      typeof value[1] === 'string' &&
      !value[1].includes('\0')
    )
      return value as Position
  } catch {}
  throw new Problem('invalid', 'The cursor is not one of ours', {
    faults: [{ path: '/cursor', message: 'use next_cursor of the page before, unchanged' }],
  })
}

export interface Page<T> {
  items: T[]
  next_cursor: string | null
}

/** From limit + 1 rows: the page, and a cursor only where more follows. */
export function page<T>(rows: T[], limit: number, position: (row: T) => Position): Page<T> {
  const items = rows.slice(0, limit)
  const last = items.at(-1)
  return { items, next_cursor: rows.length > limit && last !== undefined ? encodeCursor(position(last)) : null }
}
