import { describe, expect, test } from 'vitest'
import { BoundedLabels, Metrics, OTHER } from './metrics.js'

describe('labels', () => {
  test('are as many as there is room for, each tenant and all together', () => {
    const labels = new BoundedLabels()
    const shown = new Set<string>()
    for (let tenant = 0; tenant < 200; tenant++)
      for (let topic = 0; topic < 200; topic++) {
        const [a, b] = [labels.tenant(`t${tenant}`), labels.topic(`t${tenant}`, `job.${topic}`, true)]
        shown.add(`${a} ${b}`)
      }
    // 50 tenants and other, each with other; 200 topics, 50 of one tenant at most.
    expect(shown.size).toBeLessThanOrEqual(200 + 51)
    expect([...shown].filter((each) => each.startsWith('t0 ')).length).toBe(51)
  })

  test('what was only denied takes no place', () => {
    const labels = new BoundedLabels()
    for (let i = 0; i < 1000; i++) expect(labels.topic('t', `job.x${i}`, false)).toBe(OTHER)
    expect(labels.topic('t', 'job.real', true)).toBe('job.real')
    expect(labels.topic('t', 'job.real', false)).toBe('job.real')
  })

  test('a tenant past the bound is other, and so are its topics', () => {
    const labels = new BoundedLabels()
    for (let i = 0; i < 50; i++) labels.tenant(`t${i}`)
    expect(labels.tenant('late')).toBe(OTHER)
    expect(labels.topic('late', 'job.a', true)).toBe(OTHER)
    expect(labels.tenant('t3')).toBe('t3')
  })
})

describe('exposition', () => {
  test('names are whole: sallyport_ with base units, counters end in _total, each with help and type', async () => {
    const text = await new Metrics().text(null)
    const types = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type = '']) => ({ name, type }))
    const own = types.filter(({ name }) => name.startsWith('sallyport_'))
    expect(own.length).toBeGreaterThan(20)
    for (const { name, type } of own) {
      expect(name).toMatch(/^[a-z_]+$/)
      expect(name.endsWith('_total'), name).toBe(type === 'counter')
      if (type === 'histogram') expect(name).toMatch(/_(seconds|size)$/)
      expect(text).toContain(`# HELP ${name} `)
    }
    expect(types.map(({ name }) => name)).toContain('process_cpu_seconds_total')
    expect(types.map(({ name }) => name)).toContain('process_resident_memory_bytes')
  })

  test('label values are escaped', async () => {
    const metrics = new Metrics()
    metrics.jobs.inc({ tenant: 'a"b\\c\nd', topic: 'job.a', event: 'submitted' })
    expect(await metrics.text(null)).toContain(
      'sallyport_jobs_total{tenant="a\\"b\\\\c\\nd",topic="job.a",event="submitted"} 1',
    )
  })

  test('a tenant is shown its own series and those of no tenant, histograms whole', async () => {
    const metrics = new Metrics()
    metrics.jobs.inc({ tenant: 'one', topic: 'job.a', event: 'submitted' })
    metrics.jobs.inc({ tenant: 'two', topic: 'job.secret', event: 'submitted' })
    metrics.http.observe({ route: '/jobs', method: 'GET', status: 200 }, 0.02)
    const text = await metrics.text('one')
    expect(text).toContain('tenant="one"')
    expect(text).not.toContain('two')
    expect(text).not.toContain('secret')
    expect(text).toContain(
      'sallyport_http_request_duration_seconds_bucket{le="0.025",route="/jobs",method="GET",status="200"} 1',
    )
    expect(text).toContain('sallyport_http_request_duration_seconds_count{route="/jobs",method="GET",status="200"} 1')
  })

  test('what is not known of the store is not shown at all', async () => {
    const metrics = new Metrics()
    metrics.leasesLive.set(3)
    metrics.queueDepth.set({ tenant: 't', topic: 'job.a' }, 5)
    expect(await metrics.text(null)).toContain('sallyport_leases_live 3')
    metrics.forgetStore()
    const text = await metrics.text(null)
    expect(text).not.toMatch(/^sallyport_leases_live/m)
    expect(text).not.toMatch(/^sallyport_queue_depth/m)
  })

  test('two planes in a process share nothing', async () => {
    const [one, two] = [new Metrics(), new Metrics()]
    one.entries.inc({ kind: 'job.submitted' })
    expect(await two.text(null)).not.toContain('job.submitted')
  })
})
