import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { check, longFiles, MAX_LINES, type Sources, WARN_LINES } from './architecture/check.js'
import { ALLOWANCES } from './architecture/rooms.js'
import { importsOf, scan } from './architecture/scan.js'

const root = fileURLToPath(new URL('..', import.meta.url))

function sourcesBelow(folder: string, wanted: (name: string) => boolean): Sources {
  if (!existsSync(join(root, folder))) return {}
  const names = readdirSync(join(root, folder), { recursive: true }).map(String).filter(wanted)
  return Object.fromEntries(names.map((name) => [`${folder}/${name}`, readFileSync(join(root, folder, name), 'utf8')]))
}

describe('the house', () => {
  const sources = {
    ...sourcesBelow('src', (name) => name.endsWith('.ts') && !name.endsWith('.test.ts')),
    ...sourcesBelow('migrations', (name) => name.endsWith('.sql')),
  }

  test('keeps its rules', () => {
    expect(Object.keys(sources).length).toBeGreaterThan(0)
    const faults = check(sources, ALLOWANCES).map((v) => `${v.file}:${v.line} ${v.rule}: ${v.message}`)
    expect(faults).toEqual([])
  })

  test(`says which files passed ${WARN_LINES} lines`, ({ annotate }) => {
    const long = longFiles(sources)
    if (long.length > 0) console.warn(`perhaps two ideas each:\n  ${long.join('\n  ')}`)
    return annotate(`${long.length} long files`)
  })
})

/** The rules as they are must catch each of these; `rule` is the only one that may speak. */
const PLANTED: [name: string, rule: string, sources: Sources][] = [
  ['core importing store', 'import', { 'src/core/a.ts': "import { b } from '../store/b.js'", 'src/store/b.ts': '' }],
  [
    'core importing a value of contract',
    'import',
    { 'src/core/a.ts': "import { b } from '../contract/b.js'", 'src/contract/b.ts': '' },
  ],
  [
    'a type hidden in a value import',
    'import',
    { 'src/core/a.ts': "import { type B } from '../contract/b.js'", 'src/contract/b.ts': '' },
  ],
  ['core importing a builtin', 'import', { 'src/core/a.ts': "import { readFileSync } from 'node:fs'" }],
  ['core importing a package', 'import', { 'src/core/a.ts': "import fastify from 'fastify'" }],
  ['a package whose name only starts the same', 'import', { 'src/core/a.ts': "import x from 'yaml-evil'" }],
  [
    'contract importing core, if only a type',
    'import',
    { 'src/contract/a.ts': "import type { B } from '../core/b.js'", 'src/core/b.ts': '' },
  ],
  [
    'platform importing store',
    'import',
    { 'src/platform/a.ts': "import type { B } from '../store/b.js'", 'src/store/b.ts': '' },
  ],
  [
    'store importing a value of platform',
    'import',
    { 'src/store/a.ts': "import { b } from '../platform/db/b.js'", 'src/platform/db/b.ts': '' },
  ],
  ['store importing a driver', 'import', { 'src/store/a.ts': "import { PGlite } from '@electric-sql/pglite'" }],
  [
    'a journey importing a journey',
    'import',
    { 'src/journey/a.ts': "import type { B } from './b.js'", 'src/journey/b.ts': '' },
  ],
  [
    'a journey importing http',
    'import',
    { 'src/journey/a.ts': "import { b } from '../http/b.js'", 'src/http/b.ts': '' },
  ],
  [
    'http importing loops',
    'import',
    { 'src/http/routes/a.ts': "import { b } from '../../loops/b.js'", 'src/loops/b.ts': '' },
  ],
  [
    'http writing to the ledger',
    'import',
    { 'src/http/a.ts': "import { b } from '../store/ledger/b.js'", 'src/store/ledger/b.ts': '' },
  ],
  [
    'a loop writing to the ledger',
    'import',
    { 'src/loops/a.ts': "import { b } from '../store/ledger/b.js'", 'src/store/ledger/b.ts': '' },
  ],
  ['the sdk importing a package', 'import', { 'src/sdk/client.ts': "import x from 'picocolors'" }],
  ['the sdk importing a builtin by its bare name', 'import', { 'src/sdk/client.ts': "import http from 'http'" }],
  [
    'the sdk importing errors',
    'import',
    { 'src/sdk/client.ts': "import { b } from '../errors.js'", 'src/errors.ts': '' },
  ],
  [
    'the entry of the sdk importing core',
    'import',
    { 'src/sdk.ts': "export { b } from './core/b.js'", 'src/core/b.ts': '' },
  ],
  [
    'the worker importing core',
    'import',
    { 'src/worker/a.ts': "import { b } from '../core/b.js'", 'src/core/b.ts': '' },
  ],
  ['the cli importing store', 'import', { 'src/cli/a.ts': "import { b } from '../store/b.js'", 'src/store/b.ts': '' }],
  ['errors importing anything', 'import', { 'src/errors.ts': "import { b } from './core/b.js'", 'src/core/b.ts': '' }],
  [
    'a re-export across rooms',
    'import',
    { 'src/core/a.ts': "export const c = 1\nexport * from '../store/b.js'", 'src/store/b.ts': '' },
  ],
  ['an import for its side effect', 'import', { 'src/core/a.ts': "import '../store/b.js'", 'src/store/b.ts': '' }],
  ['a dynamic import', 'import', { 'src/core/a.ts': "const b = await import('../store/b.js')", 'src/store/b.ts': '' }],
  ['a dynamic import of a variable', 'import', { 'src/core/a.ts': 'const b = await import(name)' }],
  ['require', 'import', { 'src/core/a.ts': "const fs = require('fs')" }],
  [
    'a thread started across rooms',
    'import',
    { 'src/core/a.ts': "new Worker(new URL('../store/b.js', import.meta.url))", 'src/store/b.ts': '' },
  ],
  ['a file that is not there', 'import', { 'src/core/a.ts': "import { b } from './b.js'" }],
  ['an import without .js', 'import', { 'src/core/a.ts': "import { b } from './b'", 'src/core/b.ts': '' }],
  ['a room nobody planned', 'import', { 'src/services/a.ts': "import { b } from './b.js'", 'src/services/b.ts': '' }],
  [
    'a cycle of two',
    'cycle',
    { 'src/core/a.ts': "import { b } from './b.js'", 'src/core/b.ts': "import { a } from './a.js'" },
  ],
  [
    'a cycle of three through a type',
    'cycle',
    {
      'src/core/a.ts': "import { b } from './b.js'",
      'src/core/b.ts': "import type { C } from './c.js'",
      'src/core/c.ts': "import { a } from './a.js'",
    },
  ],
  ['a file that imports itself', 'cycle', { 'src/core/a.ts': "import { a } from './a.js'" }],
  ['an index file', 'barrel', { 'src/core/index.ts': 'export const a = 1' }],
  [
    'a barrel by another name',
    'barrel',
    { 'src/core/policy.ts': "export * from './b.js'\nexport { c } from './b.js'", 'src/core/b.ts': '' },
  ],
  ['a file named utils', 'name', { 'src/core/utils.ts': '' }],
  ['a folder named common', 'name', { 'src/core/common/a.ts': '' }],
  ['a manager in a longer name', 'name', { 'src/store/lease-manager.ts': '' }],
  ['Date.now', 'time', { 'src/core/a.ts': 'const t = Date.now()' }],
  ['Date.now taken along', 'time', { 'src/journey/a.ts': 'const clock = Date.now' }],
  ['new Date()', 'time', { 'src/store/a.ts': 'const t = new Date()' }],
  ['new Date without brackets', 'time', { 'src/store/a.ts': 'const t = new Date' }],
  ['Date() as a call', 'time', { 'src/store/a.ts': 'const t = Date()' }],
  ['Math.random', 'time', { 'src/core/a.ts': 'const r = Math.random()' }],
  ['setTimeout', 'time', { 'src/http/a.ts': 'setTimeout(f, 10)' }],
  ['setInterval by globalThis', 'time', { 'src/loops/a.ts': 'globalThis.setInterval(f, 10)' }],
  ['timers by import', 'time', { 'src/loops/a.ts': "import { setTimeout as delay } from 'node:timers/promises'" }],
  ['performance.now', 'time', { 'src/http/a.ts': 'const t = performance.now()' }],
  ['AbortSignal.timeout', 'time', { 'src/http/a.ts': 'const s = AbortSignal.timeout(1)' }],
  ['randomUUID', 'time', { 'src/core/a.ts': "import { randomUUID } from 'node:crypto'" }],
  ['time inside a template', 'time', { 'src/core/a.ts': 'const t = `at $' + '{ { a: Date.now() }.a } ms`' }],
  ['the composition root reading the clock', 'time', { 'src/main.ts': 'const t = Date.now()' }],
  ['SQL in a journey', 'sql', { 'src/journey/a.ts': "const q = 'select id from jobs where tenant = $1'" }],
  [
    'SQL in a route, in capitals behind a comment',
    'sql',
    { 'src/http/a.ts': 'const q = `-- jobs\nSELECT id FROM jobs`' },
  ],
  ['SQL in a platform file', 'sql', { 'src/platform/db/a.ts': "const q = 'insert into jobs values ($1)'" }],
  [
    'a statement that starts with WITH',
    'sql',
    { 'src/main.ts': 'const q = `\n  with due as (select 1) update jobs set a = 1`' },
  ],
  ['now() in SQL', 'sql-time', { 'src/store/a.ts': "const q = 'update jobs set at = now()'" }],
  [
    'current_timestamp in SQL',
    'sql-time',
    { 'src/store/a.ts': 'const q = `insert into a values (CURRENT_TIMESTAMP)`' },
  ],
  ['now() in a migration', 'sql-time', { 'migrations/0001_a.sql': 'create table a (at timestamptz default now());' }],
  ['a file that is too long', 'length', { 'src/core/a.ts': '\n'.repeat(MAX_LINES + 1) }],
]

describe('a planted violation is caught', () => {
  test.each(PLANTED)('%s', (_, rule, sources) => {
    expect([...new Set(check(sources).map((violation) => violation.rule))]).toEqual([rule])
  })
})

/** What looks like a breach and is none. */
const INNOCENT: [name: string, sources: Sources][] = [
  [
    'core importing a type of contract',
    { 'src/core/a.ts': "import type { B } from '../contract/b.js'", 'src/contract/b.ts': '' },
  ],
  ['a subpath of an allowed package', { 'src/contract/a.ts': "import { Type } from 'typebox/type'" }],
  [
    'a type of the ledger in http',
    { 'src/http/a.ts': "import type { B } from '../store/ledger/b.js'", 'src/store/ledger/b.ts': '' },
  ],
  [
    'main importing everything',
    { 'src/main.ts': "import { b } from './store/ledger/b.js'\nimport pg from 'pg'", 'src/store/ledger/b.ts': '' },
  ],
  ['entries that re-export', { 'src/policy.ts': "export { b } from './core/b.js'", 'src/core/b.ts': '' }],
  [
    'a comment that names things',
    { 'src/core/a.ts': "// import { b } from '../store/b.js' and Date.now()\n/* setTimeout */" },
  ],
  ['a message that names things', { 'src/core/a.ts': "const m = 'Date.now() and import(x) // are not'" }],
  ['a regex with quotes and slashes', { 'src/core/a.ts': "const r = /['\"`/\\]]/.test(x)\nconst m = 'Date.now()'" }],
  ['a regex after a keyword', { 'src/core/a.ts': "const f = () => { return /'/ }\nconst m = 'Date.now()'" }],
  ['a division', { 'src/core/a.ts': "const a = (b) / c / d\nconst m = ' / Date.now()'" }],
  [
    'a nested template',
    { 'src/core/a.ts': 'const m = `a $' + '{ b ? `Date.now() $' + "{ c } '` : 'x' } Math.random()`" },
  ],
  ['a date made from a number', { 'src/core/a.ts': 'const s = new Date(ms).toISOString()' }],
  ['a timer of a clock that came in', { 'src/loops/a.ts': 'clock.setTimeout(f, 10)' }],
  ['time where it belongs', { 'src/platform/clock.ts': 'export const now = () => Date.now()' }],
  ['prose with the words of SQL', { 'src/http/a.ts': "const m = 'Select a tenant from the list, or update it'" }],
  ['a comment in a migration', { 'migrations/0001_a.sql': 'create table a (at bigint); -- never now()' }],
  [
    'a thread started by its creator',
    {
      'src/store/a.ts': "new Worker(new URL('./b.js', import.meta.url))",
      'src/store/b.ts': "import type { A } from './a.js'",
    },
  ],
  ['an address that is no module', { 'src/sdk/a.ts': "new URL('/api/v1', base); new URL('./migrations', base)" }],
]

describe('what is no violation', () => {
  test.each(INNOCENT)('%s', (_, sources) => {
    expect(check(sources)).toEqual([])
  })
})

describe('an allowance', () => {
  const sources = { 'src/core/a.ts': 'Date.now()', 'src/core/b.ts': 'Date.now()' }
  const allowance = { rule: 'time', file: 'src/core/a.ts', why: 'planted' }

  test('covers its rule in its file and no other', () => {
    expect(check(sources, [allowance]).map(({ file }) => file)).toEqual(['src/core/b.ts'])
  })

  test('that nothing needs is a fault', () => {
    expect(check({ 'src/core/a.ts': '' }, [allowance]).map(({ rule }) => rule)).toEqual(['allowance'])
  })
})

describe('the scanner', () => {
  test('finds every form of import and tells types from values', () => {
    const source = [
      "import a, { b as c } from './1.js'",
      "import * as d from './2.js'",
      "import type { E } from './3.js'",
      "export type { F } from './4.js'",
      "export interface G { h: string }\nexport { i } from './5.js'",
      "import {\n  j,\n  k,\n} from './6.js'",
      "import './7.js'",
      "await import('./8.js')",
      "import type from './9.js'",
    ].join('\n')
    const found = importsOf(scan(source)).map(({ specifier, kind }) => `${specifier} ${kind}`)
    expect(found.sort()).toEqual(
      [1, 2, 5, 6, 7, 8, 9]
        .map((n) => `./${n}.js value`)
        .concat('./3.js type', './4.js type')
        .sort(),
    )
  })

  test('keeps every offset', () => {
    const source = "const a = 'x' // y\nconst b = `$" + '{ a }` /* z */ / 2'
    const { code } = scan(source)
    expect(code).toHaveLength(source.length)
    expect(code.split('\n')).toHaveLength(2)
  })
})

test('every loop is in the list of ARCHITECTURE.md', () => {
  const text = readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8')
  const loops = readdirSync(join(root, 'src/loops')).filter((name) => !name.endsWith('.test.ts'))
  expect(loops.filter((name) => !text.includes(`\`${name}\``))).toEqual([])
})
