/**
 * Who may import whom. Everything not named here is an error; every room may import from itself unless it says `apart`.
 * The reasons are in ARCHITECTURE.md; a new row is a decision and belongs into docs/decisions.
 */
export interface Room {
  /** Rooms it may import values and types from. */
  may: string[]
  /** Rooms it may import types from. */
  types: string[]
  /** Third-party packages, subpaths included. */
  packages: string[]
  /** Node's own modules, written with `node:`. */
  builtins: 'all' | string[]
  /** Its files never import each other. */
  apart?: true
  /** Folders inside the rooms of `may` that stay closed. */
  closed?: string[]
}

const DRIVERS = [
  '@electric-sql/pglite',
  'pg',
  'nats',
  '@nats-io',
  'pino',
  'prom-client',
  '@node-rs/argon2',
  'openid-client',
  'nodemailer',
  'ipaddr.js',
]

export const ROOMS: Record<string, Room> = {
  contract: { may: [], types: [], packages: ['typebox'], builtins: [] },
  core: {
    may: ['errors'],
    types: ['contract'],
    packages: ['@marcbachmann/cel-js', 'jose', 're2js', 'yaml'],
    builtins: ['node:crypto'],
  },
  platform: { may: ['errors'], types: [], packages: DRIVERS, builtins: 'all' },
  store: { may: ['core', 'errors'], types: ['platform'], packages: [], builtins: 'all' },
  journey: {
    may: ['core', 'store', 'contract', 'errors'],
    types: ['platform'],
    packages: [],
    builtins: [],
    apart: true,
  },
  // Loops and routes read; what changes a row goes through a journey, so the ledger is closed to them.
  loops: {
    may: ['journey', 'contract', 'store', 'errors'],
    types: ['platform', 'core'],
    packages: [],
    builtins: 'all',
    closed: ['store/ledger'],
  },
  // Pure rules of core (who may do what, how a hash is shown) are called here rather than written a second time.
  http: {
    may: ['journey', 'contract', 'store', 'core', 'errors'],
    types: ['platform', 'loops'],
    packages: ['fastify', 'typebox'],
    builtins: 'all',
    closed: ['store/ledger'],
  },
  // Ships alone to agents and workers: nothing of the server, nothing of others.
  sdk: { may: [], types: ['contract'], packages: [], builtins: 'all' },
  worker: { may: ['sdk', 'errors'], types: ['contract'], packages: ['ipaddr.js', 'typebox'], builtins: 'all' },
  cli: {
    may: ['main', 'sdk', 'core', 'worker', 'config', 'errors'],
    types: ['contract'],
    packages: ['commander', 'picocolors', 'yaml'],
    builtins: 'all',
  },

  // Files at the root of src/. sdk.ts is part of the room sdk.
  errors: { may: [], types: [], packages: [], builtins: [] },
  // What only a start does, and what opens a log without one: files, engines, first keys.
  start: {
    may: ['config', 'core', 'journey', 'platform', 'store', 'errors'],
    types: [],
    packages: [],
    builtins: 'all',
    closed: ['store/ledger'],
  },
  config: { may: ['core', 'errors'], types: ['platform'], packages: ['typebox'], builtins: 'all' },
  policy: { may: ['core', 'errors'], types: ['contract'], packages: [], builtins: [] },
}

/** The composition root, and the entry that composes for tests, may import everything. */
export const COMPOSERS = ['main', 'testing']

/** Rooms that own time and chance, or sit at a terminal or a child process where both are plain facts of life. */
export const MAY_TELL_TIME = ['platform', 'sdk', 'worker', 'cli']

/** One exception to one rule in one file, with its reason; one that nothing needs any more is itself a fault. */
export interface Allowance {
  rule: string
  file: string
  why: string
}

export const ALLOWANCES: Allowance[] = [
  {
    rule: 'sql',
    file: 'src/platform/db/pg-holds.ts',
    why: 'it speaks of sessions and locks of the server, of which the tables and their statements know nothing',
  },
]
