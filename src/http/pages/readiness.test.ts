import { expect, test } from 'vitest'
import type { Finding } from '../../core/readiness/finding.js'
import type { Readiness, ReadyEntry } from '../../core/readiness.js'
import { readinessMarkdown, readinessPage } from './readiness.js'

const HOSTILE = '<script>alert(1)</script>"\'|\u202egnp\n[x](javascript:alert(1))'
const AT = 1_795_152_740_374
const finding = (link: string): Finding => ({
  ...{ state: 'block', reason: `work ran as agent:${HOSTILE}`, link, at: AT, expires_at: null },
  ...{ owner: HOSTILE, attestable: null },
})
const entry = (link: string): ReadyEntry => ({
  ...{ id: 'submit_check', number: 1, area: 'Governance', title: 'Policy is asked', signal: 's', blocks_launch: true },
  ...{ state: 'block', reason: `work ran as agent:${HOSTILE}`, link, findings: [finding(link)], owner: HOSTILE },
  ...{ at: AT, expires_at: AT, attestable: null, attestation: null },
})
const report = (link: string, ready = false): Readiness => ({
  ...{ ready, at: AT, tenant: HOSTILE, snapshot: null, controls: [entry(link)], items: [] },
  blocked_by: ready ? [] : ['submit_check'],
})

test('lets nothing that others wrote be more than text, and runs and loads nothing', () => {
  const { headers, body } = readinessPage(report('/api/v1/jobs'))
  expect(headers['content-security-policy']).toMatch(/^default-src 'none'/)
  expect(body).not.toMatch(/<script|\u202e|src=|@import|url\(/)
  expect(body).toContain('\\u{202e}')
  expect(body).toContain('href="/api/v1/jobs"')
})

test.each(['javascript:alert(1)', '//evil.example', 'data:text/html,x', 'docs/operating/stop.md'])(
  'makes no link of %s',
  (link) => {
    expect(readinessPage(report(link)).body).not.toContain('href=')
  },
)

test('says in words and signs, not in colours, whether it is ready and what holds it up', () => {
  const { body } = readinessPage(report('/x'))
  for (const each of ['✕ NOT READY', 'Held up by control 1.', '✕ BLOCK', '@media print', 'Launch'])
    expect(body).toContain(each)
  expect(readinessPage(report('/x', true)).body).toContain('✓ READY')
})

test('a name of somebody else breaks no row of the Markdown', () => {
  const lines = readinessMarkdown(report('/x')).split('\n')
  const row = lines.find((line) => line.startsWith('| 1 |')) ?? ''
  expect(row.replaceAll(/\\./g, '').split('|')).toHaveLength(11)
  expect(row).not.toMatch(/<script|[^\\]\]\(/)
  expect(lines[0]).toContain('not ready')
})
