import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { Json } from '../../src/core/json.js'
import { DETECTORS, defaultOutputPolicy, screen } from '../../src/core/output.js'
import { scan } from '../../src/core/output/scan.js'
import { FORMS, type Sample } from './forms.js'

const folder = (name: string) => new URL(`./${name}/`, import.meta.url)
const read = (dir: string, file: string) => readFileSync(new URL(file, folder(dir)), 'utf8')

const samples: Sample[] = ['credentials.jsonl', 'personal.jsonl'].flatMap((file) =>
  read('secrets', file)
    .trim()
    .split('\n')
    .map((line) => {
      const { detector, before, parts, after } = JSON.parse(line) as { detector: string; before: string; parts: string[]; after: string }
      return { detector, before, secret: parts.join(''), after }
    }),
)

/** Found by chance in 480 KB of ordinary text: one 15-digit offset that is a valid card number. It may shrink, never grow. */
const FALSE_POSITIVES = 1

describe('the corpus of secrets', () => {
  it('has a sample of every detector', () => {
    const missing = DETECTORS.map((d) => d.name).filter((name) => !samples.some((s) => s.detector === name))
    expect(missing).toEqual([])
    expect(samples.length).toBeGreaterThan(200)
  })

  it('is found in every form that is declared detectable, and gone from the output', () => {
    const misses: string[] = []
    const leaks: string[] = []
    const tried: Record<string, number> = {}
    for (const form of FORMS) {
      for (const sample of samples) {
        const embedded = form.embed(sample)
        if (embedded === null) continue
        tried[form.name] = (tried[form.name] ?? 0) + 1
        const { verdict, output, findings } = screen(embedded.value, defaultOutputPolicy)
        const what = `${sample.detector} as ${form.name}: ${sample.before}…`
        if (verdict === 'ALLOW' || !findings.some((f) => f.detector === sample.detector)) misses.push(`${what} found ${JSON.stringify(findings)}`)
        // The end of it is what an unnoticed remainder would be.
        if (output !== null && JSON.stringify(output).includes(embedded.trace)) leaks.push(what)
        if (JSON.stringify(findings).includes(embedded.trace)) leaks.push(`${what} (in the findings)`)
      }
    }
    const total = Object.values(tried).reduce((a, b) => a + b, 0)
    console.log(`secrets: ${samples.length} samples, ${total} embedded, ${misses.length} missed, ${leaks.length} leaked`, tried)
    expect(misses).toEqual([])
    expect(leaks).toEqual([])
    expect(Object.keys(tried)).toHaveLength(FORMS.length)
  })
})

describe('the corpus of ordinary text', () => {
  it('has no more false positives than stated', () => {
    const found: string[] = []
    let bytes = 0
    const files = readdirSync(folder('ordinary')).filter((f) => f.endsWith('.txt'))
    for (const file of files) {
      const text = read('ordinary', file)
      bytes += text.length
      for (const h of scan(text)) found.push(`${file}: ${DETECTORS[h.rank]?.name} ${text.slice(Math.max(0, h.start - 20), h.end)}`)
    }
    console.log(`ordinary: ${files.length} files, ${(bytes / 1000).toFixed(0)} KB, ${found.length} false positives`, found)
    expect(bytes).toBeGreaterThan(300_000)
    expect(found.length).toBeLessThanOrEqual(FALSE_POSITIVES)
  })

  it('is let through as JSON results, unchanged', () => {
    const lines = read('ordinary', 'results.txt').trim().split('\n')
    for (const line of lines) {
      const value = JSON.parse(line) as Json
      const screened = screen(value, defaultOutputPolicy)
      expect(screened.findings).toEqual([])
      expect(screened.output).toBe(value)
    }
  })
})
