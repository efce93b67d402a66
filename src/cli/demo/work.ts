import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Commit } from '../../worker/repo-read.js'
import { eventually } from '../drill-steps.js'
import { settings } from '../render.js'
import { printable } from '../terminal.js'
import { PATIENCE_MS, submit, submitTaken, succeeded } from './asking.js'
import { DATABASE } from './stage.js'
import type { Scene } from './story.js'
import { METADATA } from './warehouse.js'

/** What agents do all day: read, call, and now and then something that must not be. */

export const commits: Scene = {
  title: 'The agent reads commits',
  why: 'Reading changes nothing, so policy lets it through without asking anybody. A worker process runs git and returns the log.',
  async play({ agent, admin, repository, outside }, tell) {
    const { job_id, decision } = await submitTaken(tell, 'agent', agent, {
      topic: 'job.repo.read',
      input: { op: 'log', limit: 3 },
    })
    await succeeded(tell, agent, job_id)
    const { output, verdict } = await agent.jobs.result(job_id)
    const read = (output as { commits?: Commit[] } | null)?.commits ?? []
    tell.show(read, ({ color }) =>
      read.map(({ hash, subject }) => `${color.yellow(hash.slice(0, 8))} ${clipped(subject)}`).join('\n'),
    )
    tell.check('allowed, and nobody was asked', decision === 'ALLOW')
    tell.check(
      'the newest commit is the one git itself names',
      read[0]?.hash === repository.head && verdict === 'ALLOW',
      repository.path,
    )
    const head = await eventually(async () => {
      const newest = await admin.audit.head().catch(() => null)
      return newest !== null && newest.size > 0 ? newest : null
    }, PATIENCE_MS)
    outside.heads.push(head?.checkpoint ?? '')
    outside.publicKey = head?.public_key ?? ''
    tell.check('somebody outside keeps a signed head of the audit log', head !== null, `of ${head?.size} entries`)
  },
}

export const calls: Scene = {
  title: 'The agent calls a service',
  why: 'Calls are allowed with constraints: only to the hosts that policy names, in bounded time. The door checks the address the agent gives, and the worker every address it meets on the way.',
  async play({ agent, warehouse }, tell) {
    const topic = 'job.integrations.call'
    const call = (url: string) => ({ topic, input: { url } })

    const stock = await submitTaken(tell, 'agent', agent, call(`${warehouse.url}/stock`))
    tell.answer({ word: 'constraints', why: settings(stock.constraints) ?? 'none' })
    await succeeded(tell, agent, stock.job_id)
    const { output } = await agent.jobs.result(stock.job_id)
    const answer = output as { status?: number; body?: string } | null
    tell.answer({ by: 'worker', word: `GET /stock: ${answer?.status}`, why: answer?.body ?? '' })
    tell.check(
      'the service was called under the constraints of the rule',
      stock.decision === 'ALLOW_WITH_CONSTRAINTS' && answer?.status === 200,
    )

    const elsewhere = await submit(tell, 'agent', agent, call('https://files.example/upload'))
    tell.check('another host is refused at the door', !elsewhere.taken)

    tell.say('An allowed host can answer with a redirect to where the credentials of a cloud machine lie.')
    const moved = await submitTaken(tell, 'agent', agent, call(`${warehouse.url}/stock-old`))
    const ended = await agent.jobs.wait(moved.job_id, { timeoutMs: PATIENCE_MS })
    tell.answer({ by: 'worker', word: `GET /stock-old: 302`, why: `to ${METADATA}` })
    tell.answer({ word: ended.status, why: `${ended.error?.code}: ${ended.error?.message}` })
    tell.check('the worker does not follow it', ended.error?.code === 'host_not_allowed')
    tell.check(
      'the service saw two requests',
      warehouse.requests.join() === 'GET /stock,GET /stock-old',
      warehouse.requests.join(', '),
    )
  },
}

export const destruction: Scene = {
  title: 'The agent tries a destructive command',
  why: 'Shell commands that only read are allowed. For anything else in production the answer is no. What the agent says about its command is a claim: the server reads the command itself.',
  async play({ agent, admin, workdir }, tell) {
    const topic = 'job.exec.shell'
    const run_id = `demo-${randomUUID()}`
    const input = { command: `rm -rf ${DATABASE}` }
    const tries = [
      { said: 'with honest labels', labels: { env: 'prod', command_class: 'destructive' } },
      { said: 'with the labels left out', labels: undefined },
      { said: 'calling it safe', labels: { env: 'prod', command_class: 'safe' } },
    ]
    const denials: string[] = []
    for (const { said, labels } of tries) {
      const asked = await submit(tell, 'agent', agent, { topic, ...(labels ? { labels } : {}), input, run_id })
      tell.check(`denied ${said}`, !asked.taken)
      if (!asked.taken) denials.push(asked.decision_id)
    }
    const { items } = await admin.jobs.list({ run_id })
    tell.check('no job was stored', items.length === 0, `${items.length} jobs of this run`)
    const audited = await eventually(async () => {
      const page = await admin.audit.list({ kind: 'job.denied', limit: 500 })
      return denials.every((id) => page.items.some(({ facts }) => facts.decision_id === id)) || null
    }, PATIENCE_MS)
    tell.check('each denial is in the audit log', audited === true, `${denials.length} entries job.denied`)

    tell.say('The shell is not shut: a command that only reads runs.')
    const listing = await submitTaken(tell, 'agent', agent, {
      topic,
      labels: { env: 'prod' },
      input: { command: 'ls' },
    })
    await succeeded(tell, agent, listing.job_id)
    const { output } = await agent.jobs.result(listing.job_id)
    const { stdout = '' } = output as { stdout?: string }
    tell.answer({ by: 'worker', word: 'exit 0', why: stdout.trim() })
    const content = await readFile(join(workdir, DATABASE), 'utf8').catch(() => '')
    tell.check(`${DATABASE} is still there`, stdout.includes(DATABASE) && content !== '')
  },
}

const clipped = (text: string): string => printable(text.length > 70 ? `${text.slice(0, 69)}…` : text)
