import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { grantHash, jobHash, shortForm } from './binding.js'
import type { Claim } from './job.js'

const claim: Claim = {
  tenant: 'default',
  agent: 'agent:deployer',
  agent_version: '3',
  team: 'platform',
  topic: 'job.deploy.apply',
  labels: { env: 'prod' },
  risk_tags: ['money'],
  environment: 'production',
  action_type: 'write',
  capability: 'deploy',
  action: 'apply',
  workflow: null,
  input: { replicas: 3 },
  context: null,
  timeout_ms: 60_000,
  max_attempts: null,
  not_before: null,
}

describe('jobHash', () => {
  it('is the hash of the fields the design lists, under its domain', () => {
    const { team, ...fields } = claim
    const sorted = Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)))
    const text = `sallyport/job/v1\n${JSON.stringify(sorted)}`
    expect(jobHash(claim)).toBe(createHash('sha256').update(text).digest('hex'))
    expect(team).toBe('platform')
  })

  it('changes with every field but the server’s record of the team', () => {
    const other: Record<keyof Claim, unknown> = {
      ...claim,
      tenant: 'x',
      agent: 'x',
      agent_version: null,
      topic: 'x',
      labels: { env: 'dev' },
      risk_tags: [],
      environment: null,
      action_type: 'x',
      capability: 'x',
      action: 'x',
      workflow: 'x',
      input: { replicas: 4 },
      context: {},
      timeout_ms: 1,
      max_attempts: 1,
      not_before: 1,
    }
    for (const field of Object.keys(claim) as (keyof Claim)[]) {
      const changed = jobHash({ ...claim, [field]: other[field] })
      if (field === 'team') expect(jobHash({ ...claim, team: 'other' } as Claim)).toBe(jobHash(claim))
      else expect(changed, field).not.toBe(jobHash(claim))
    }
  })
})

describe('grantHash', () => {
  const grant = {
    job_hash: jobHash(claim),
    snapshot: 'ab',
    rules: ['b', 'a'],
    constraints: { timeout_ms: 5 },
    approval: [],
    effective: { labels: {}, risk_tags: [], environment: null, action_type: null },
  }

  it('does not depend on the order rules matched in', () => {
    expect(grantHash({ ...grant, rules: ['a', 'b'] })).toBe(grantHash(grant))
  })

  it.each([
    { job_hash: 'x' },
    { snapshot: 'x' },
    { rules: ['a'] },
    { constraints: { timeout_ms: 6 } },
    { approval: [{ need: 2 }] },
  ])('changes with %o', (change) => {
    expect(grantHash({ ...grant, ...change })).not.toBe(grantHash(grant))
  })

  it('is never the hash of a job', () => {
    expect(grantHash(grant)).not.toBe(grant.job_hash)
  })
})

describe('shortForm', () => {
  const hash = `7f93d2c4${'0'.repeat(56)}`

  it('shows seven digits', () => {
    expect(shortForm(hash)).toBe('v1:7f93d2c')
  })

  it('lengthens until no other begins the same way, and passes over itself', () => {
    const near = `7f93d2c5${'0'.repeat(56)}`
    const nearer = `7f93d2c40${'1'.repeat(55)}`
    expect(shortForm(hash, [hash, near])).toBe('v1:7f93d2c4')
    expect(shortForm(hash, [near, nearer, hash])).toBe('v1:7f93d2c400')
  })
})
