import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Db, Param } from '../../src/platform/db/seam.js'
import { textArray } from '../../src/store/text-array.js'

/** One engine, and further openings of the same data where it has them. */
export interface DbEngine {
  db: Db
  another: (() => Promise<Db>) | null
  /** Ends what `db` and `another` stand on. */
  close(): Promise<void>
}

/** What every statement of the plane relies on, whatever is behind the seam. */
export function dbConformance(name: string, start: () => Promise<DbEngine>): void {
  describe(`the database seam on ${name}`, () => {
    let engine: DbEngine
    let db: Db
    beforeAll(async () => {
      engine = await start()
      db = engine.db
      await db.script(
        'CREATE TABLE rows (id bigserial PRIMARY KEY, n int NOT NULL CHECK (n < 1000000), word text, CONSTRAINT rows_word UNIQUE (word))',
      )
    })
    afterAll(() => engine?.close())

    const one = async (sql: string, ...params: Param[]) => (await db.query<{ v: unknown }>(sql, params))[0]?.v
    const fault = async (work: Promise<unknown>): Promise<{ state: string; message: string }> =>
      work.then(
        () => ({ state: 'none', message: '' }),
        (error) => ({ state: error.state, message: error.message }),
      )

    describe('values', () => {
      test.each<[string, Param, unknown]>([
        ['int8', '9007199254740991', Number.MAX_SAFE_INTEGER],
        ['int8', '-9007199254740991', Number.MIN_SAFE_INTEGER],
        ['int8', 0, 0],
        ['int4', -2147483648, -2147483648],
        ['int2', 32767, 32767],
        ['float8', 1.7976931348623157e308, 1.7976931348623157e308],
        ['float8', 5e-324, 5e-324],
        ['float8', 0.1, 0.1],
        ['float8', 'NaN', Number.NaN],
        ['float8', '-Infinity', Number.NEGATIVE_INFINITY],
        ['float4', 1.5, 1.5],
        ['numeric', '12345.678', 12345.678],
        ['numeric', '1e3', 1000],
        ['bool', true, true],
        ['bool', false, false],
        ['bool', 't', true],
        ['text', 'true', 'true'],
        ['text', 1, '1'],
        ['text', '', ''],
        ['varchar', 'x', 'x'],
        ['json', '{"b": 1, "a": [null, "ü", 1e2]}', { b: 1, a: [null, 'ü', 100] }],
        ['jsonb', '{"b": {"c": []}, "a": true}', { b: { c: [] }, a: true }],
        ['jsonb', 'null', null],
        ['jsonb', '"text"', 'text'],
        ['text[]', '{a,"b c"}', '{a,"b c"}'],
        ['date', '2024-02-29', '2024-02-29'],
        ['timestamptz', '2024-02-29 12:00:00+02', '2024-02-29 10:00:00+00'],
      ])('%s from %j is %j', async (type, param, expected) => {
        expect(await one(`SELECT $1::${type} AS v`, param)).toEqual(expected)
      })

      test.each(['int8', 'int4', 'float8', 'numeric', 'bool', 'text', 'bytea', 'json', 'jsonb'])(
        'null as %s is null',
        async (type) => {
          expect(await one(`SELECT $1::${type} AS v`, null)).toBe(null)
        },
      )

      test.each(['9007199254740992', '-9007199254740992', '9223372036854775807'])(
        'int8 %s is refused rather than rounded',
        async (text) => {
          expect((await fault(one('SELECT $1::int8 AS v', text))).state).toBe('22003')
          expect(await one('SELECT $1::int8 AS v', 7)).toBe(7)
        },
      )

      test('bytea is bytes', async () => {
        const bytes = new Uint8Array(256).map((_, i) => i)
        const hex = Buffer.from(bytes).toString('hex')
        const value = await one("SELECT decode($1, 'hex') AS v", hex)
        expect(value).toBeInstanceOf(Uint8Array)
        expect(Buffer.from(value as Uint8Array)).toEqual(Buffer.from(bytes))
        expect(await one("SELECT decode($1, 'hex') AS v", '')).toEqual(new Uint8Array())
      })

      test('text comes back as it went, whatever is in it', async () => {
        const odd = [
          "'; DROP TABLE rows; --",
          '\\x41',
          '$1',
          '%s',
          '\r\n\t\b\f\v',
          '\u2028\u2029',
          '\ufeff',
          '\uffff',
          '\u0001',
        ]
        for (const text of [...odd, '👩‍👩‍👧‍👦', 'e\u0301', 'שָׁלוֹם', '\u{10ffff}'])
          expect(await one('SELECT $1::text AS v', text)).toBe(text)
        const anything = fc.string({ unit: 'binary', maxLength: 200 }).map((text) => text.replaceAll('\0', ''))
        await fc.assert(
          fc.asyncProperty(anything, async (text) => {
            expect(await one('SELECT $1::text AS v', text)).toBe(text)
            expect(await one('SELECT $1::json AS v', JSON.stringify({ [text]: text }))).toEqual({ [text]: text })
          }),
          { numRuns: 200 },
        )
      })

      test('lists of texts come back as they went, however many and long', async () => {
        const back = async (texts: string[]) => one('SELECT to_json($1::text[]) AS v', textArray(texts))
        for (const texts of [[], [''], ['null', 'NULL', '{}', '"', '\\', ',', ' '], ['👩‍👩‍👧‍👦', 'x'.repeat(300_000)]])
          expect(await back(texts)).toEqual(texts)
        const anything = fc.string({ unit: 'binary', maxLength: 50 }).map((text) => text.replaceAll('\0', ''))
        await fc.assert(
          fc.asyncProperty(fc.array(anything, { maxLength: 20 }), async (texts) => {
            expect(await back(texts)).toEqual(texts)
          }),
        )
        expect(await one('SELECT ($1::text[])[$2::int] AS v', textArray(['first', 'second']), 2)).toBe('second')
        expect(await one('SELECT ($1::text[])[$2::int] AS v', textArray(['first']), null)).toBe(null)
        expect((await fault(back(['a\0b']))).state).toBe('22021')
      })

      test('what no text can be is refused, or replaced as UTF-8 says', async () => {
        expect((await fault(one('SELECT $1::text AS v', 'a\0b'))).state).toBe('22021')
        expect(await one('SELECT $1::text AS v', 'a\ud800b')).toBe('a\ufffdb')
      })

      test('rows keep their order and their columns; a statement without rows gives none', async () => {
        const rows = await db.query('SELECT n, n * 2 AS twice FROM json_to_recordset($1::json) AS x(n int)', [
          JSON.stringify([{ n: 3 }, { n: 1 }, { n: 2 }]),
        ])
        expect(rows).toEqual([
          { n: 3, twice: 6 },
          { n: 1, twice: 2 },
          { n: 2, twice: 4 },
        ])
        expect(await db.query('INSERT INTO rows (n) VALUES ($1)', [1])).toEqual([])
        expect(await db.query('SELECT n FROM rows WHERE n = $1', [-1])).toEqual([])
      })

      test('5 MB go in and come back', async () => {
        const text = 'ü€𝄞x'.repeat(500_000)
        expect(await one('SELECT $1::text AS v', text)).toBe(text)
        expect(await one('SELECT $1::text AS v', 'small')).toBe('small')
      })
    })

    describe('faults', () => {
      const SECRET = 'hunter2-4711'

      test.each<[string, string, Param[]]>([
        ['23505', 'INSERT INTO rows (n, word) VALUES (1, $1), (2, $1)', [SECRET]],
        ['23514', 'INSERT INTO rows (n, word) VALUES (1000000, $1)', [SECRET]],
        ['23502', 'INSERT INTO rows (n, word) VALUES (NULL, $1)', [SECRET]],
        ['22P02', 'SELECT $1::int', [SECRET]],
        ['22P02', 'SELECT $1::json', [`{"${SECRET}": `]],
        ['22023', 'SELECT * FROM json_to_recordset($1::json) AS x(n int)', [`"${SECRET}"`]],
        ['22008', 'SELECT $1::date', [`2024-99-99 ${SECRET}`.slice(0, 10)]],
        ['22012', 'SELECT 1 / $1::int', [0]],
        ['42P01', 'SELECT * FROM nowhere', []],
        ['42601', 'SELEKT 1', []],
      ])('are told by their state (%s) and without what was in the row: %s', async (state, sql, params) => {
        const error = await fault(db.query(sql, params))
        expect(error).toEqual({ state, message: expect.stringContaining(state) })
        expect(error.message).not.toContain(SECRET)
        expect(await one('SELECT 1 AS v')).toBe(1)
      })

      test('name the constraint', async () => {
        const error = await fault(db.query('INSERT INTO rows (n, word) VALUES (1, $1), (2, $1)', ['w']))
        expect(error.message).toContain('rows_word')
      })

      test.each(['40001', '40P01', '53100', '55P03', '57014'])('carry %s through', async (state) => {
        const raise = `DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '${state}'; END $$`
        expect((await fault(db.query(raise))).state).toBe(state)
      })

      test('of a statement leave nothing of it, and the same statement works with other values', async () => {
        const insert = 'INSERT INTO rows (n, word) VALUES ($1, $2), ($1 + 1, $3)'
        expect((await fault(db.query(insert, [100, 'same', 'same']))).state).toBe('23505')
        expect(await db.query('SELECT 1 FROM rows WHERE n = 100')).toEqual([])
        await db.query(insert, [100, 'one', 'other'])
        expect(await db.query('SELECT word FROM rows WHERE n IN (100, 101) ORDER BY n')).toEqual([
          { word: 'one' },
          { word: 'other' },
        ])
      })
    })

    describe('statements', () => {
      test('are prepared once and for all values', async () => {
        const sql = 'SELECT $1::text AS v, 4711 AS marked'
        for (const value of ['a', 'b', null]) await db.query(sql, [value], 'ledger')
        await Promise.all([1, 2, 3].map((value) => db.query(sql, [value], 'ledger')))
        const [row] = await db.query<{ n: number }>(
          "SELECT count(*)::int AS n FROM pg_prepared_statements WHERE statement LIKE '%4711 AS marked%' AND statement NOT LIKE '%pg_prepared%'",
          [],
          'ledger',
        )
        expect(row?.n).toBe(1)
      })

      test('that did not parse may be sent again', async () => {
        const sql = 'SELECT n AS v FROM later WHERE n = $1'
        expect(await Promise.all([fault(db.query(sql, [1], 'ledger')), fault(db.query(sql, [1], 'ledger'))])).toEqual([
          { state: '42P01', message: expect.anything() },
          { state: '42P01', message: expect.anything() },
        ])
        await db.script('CREATE TABLE later (n int); INSERT INTO later VALUES (1)')
        expect(await db.query(sql, [1], 'ledger')).toEqual([{ v: 1 }])
      })

      test('by the thousand at once each get their own answer', async () => {
        const work = Array.from({ length: 5000 }, (_, i) => one('SELECT $1::int AS v', i))
        expect(await Promise.all(work)).toEqual(Array.from({ length: 5000 }, (_, i) => i))
      })

      test('on the ledger’s connection happen in the order they were given', async () => {
        const word = (i: number) => `ledger ${i}`
        await Promise.all(
          Array.from({ length: 300 }, (_, i) =>
            db.query('INSERT INTO rows (n, word) VALUES ($1, $2)', [i, word(i)], 'ledger'),
          ),
        )
        const rows = await db.query<{ word: string }>("SELECT word FROM rows WHERE word LIKE 'ledger %' ORDER BY id")
        expect(rows.map((row) => row.word)).toEqual(Array.from({ length: 300 }, (_, i) => word(i)))
      })

      test('one that fails there takes no other with it', async () => {
        const insert = 'INSERT INTO rows (n, word) VALUES ($1, $2)'
        const states = await Promise.all(
          [1, 2, 1_000_000, 4, 5].map((n) => fault(db.query(insert, [n, `pipe ${n}`], 'ledger')).then((f) => f.state)),
        )
        expect(states).toEqual(['none', 'none', '23514', 'none', 'none'])
        expect(await db.query("SELECT n FROM rows WHERE word LIKE 'pipe %' ORDER BY id")).toEqual(
          [1, 2, 4, 5].map((n) => ({ n })),
        )
      })

      test('on a fresh connection see what others committed', async () => {
        await db.query("INSERT INTO rows (n, word) VALUES (1, 'fresh')", [], 'ledger')
        const many = Array.from({ length: 20 }, () => db.query("SELECT n FROM rows WHERE word = 'fresh'", [], 'fresh'))
        expect(await Promise.all(many)).toEqual(many.map(() => [{ n: 1 }]))
        expect((await fault(db.query('SELECT 1 / 0', [], 'fresh'))).state).toBe('22012')
      })
    })

    describe('a script', () => {
      test('is done as a whole or not at all', async () => {
        const script = 'CREATE TABLE half (n int);\nINSERT INTO half VALUES (1);\nSELECT 1 / 0;'
        expect((await fault(db.script(script))).state).toBe('22012')
        expect(await one("SELECT to_regclass('half') AS v")).toBe(null)
        await db.script('CREATE TABLE half (n int);\nINSERT INTO half VALUES (1)')
        expect(await one('SELECT n AS v FROM half')).toBe(1)
      })

      test('may end in a comment or hold nothing', async () => {
        await db.script('INSERT INTO half VALUES (2) -- the end')
        expect(await one('SELECT count(*) AS v FROM half')).toBe(2)
        await db.script('-- nothing\n')
      })

      test('never runs beside another', async () => {
        const grow = 'INSERT INTO half SELECT max(n) + 1 FROM half; SELECT pg_sleep(0.02)'
        const dbs = [db, engine.another === null ? db : await engine.another()]
        await Promise.all([0, 1, 0, 1].map((i) => (dbs[i] as Db).script(grow)))
        expect(await one('SELECT max(n) AS v FROM half')).toBe(6)
        if (dbs[1] !== db) await dbs[1]?.close()
      })
    })

    describe('a name', () => {
      test('is held once, also by this process, until it is released', async () => {
        const first = await db.hold('name')
        expect(first?.held).toBe(true)
        expect(await db.hold('name')).toBe(null)
        const other = await db.hold('another name')
        expect(other?.held).toBe(true)
        await first?.release()
        expect([first?.held, other?.held]).toEqual([false, true])
        const second = await db.hold('name')
        expect(second?.held).toBe(true)
        // An old hold released once more must not take the name from the new one.
        await first?.release()
        expect(second?.held).toBe(true)
        expect(await db.hold('name')).toBe(null)
        await Promise.all([second?.release(), other?.release()])
      })

      test('asked for by many at once is given to one', async () => {
        const all = await Promise.all(Array.from({ length: 20 }, () => db.hold('rush')))
        const got = all.filter((hold) => hold !== null)
        expect(got).toHaveLength(1)
        await got[0]?.release()
      })
    })

    test('closed, it ends every call', async () => {
      const own = engine.another === null ? db : await engine.another()
      const hold = await own.hold('closing')
      const under = Array.from({ length: 20 }, () => fault(own.query('SELECT 1')))
      await own.close()
      for (const { state } of await Promise.all(under)) expect(state).toMatch(/none|08/)
      expect((await fault(own.query('SELECT 1'))).state).toMatch(/^08/)
      expect((await fault(own.query('SELECT 1', [], 'fresh'))).state).toMatch(/^08/)
      expect((await fault(own.script('SELECT 1'))).state).toMatch(/^08/)
      expect(hold).not.toBe(null)
      await own.close()
    })
  })
}
