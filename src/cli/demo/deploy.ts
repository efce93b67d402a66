import { approvalText } from '../render.js'
import { PATIENCE_MS, refusal, submitTaken, succeeded } from './asking.js'
import type { Scene } from './story.js'

export const deploy: Scene = {
  title: 'The agent asks for a production deploy',
  why: 'A deploy to production waits for a person. An approval is bound to exactly what was shown: whoever says yes echoes the hash of it, and nobody says yes to a request of their own.',
  async play({ agent, approver, admin, deployments }, tell) {
    const topic = 'job.deploy.apply'
    const input = (version: string) => ({ service: 'checkout', version, environment: 'production' })

    const asked = await submitTaken(tell, 'agent', agent, { topic, input: input('1.4.2') })
    const { job_id, status, approval_id = '', grant_hash = '' } = asked
    tell.check('parked: no worker gets it', status === 'pending_approval' && asked.decision === 'REQUIRE_APPROVAL')

    tell.say('A reviewer sees everything that the hash covers:')
    const approval = await approver.approvals.get(approval_id)
    const record = await approver.jobs.get(job_id)
    tell.show(approval, (terminal) => approvalText(approval, record, terminal, Date.now()))
    tell.check('what is shown is what is bound', approval.grant_hash === grant_hash, approval.short_hash)

    const approve = `approve ${approval_id}`
    const own = await refusal(tell, 'agent', approve, agent.approvals.approve(approval_id, { grant_hash }))
    tell.check('the agent’s key approves nothing', own === 'forbidden')

    tell.say('Somebody whose key may do both asks for another deploy, and says yes to it.')
    const other = await submitTaken(tell, 'admin', admin, { topic, input: input('1.5.0-rc1') })
    const { approval_id: otherApproval = '', grant_hash: otherHash = '' } = other
    const yes = admin.approvals.approve(otherApproval, { grant_hash: otherHash })
    const self = await refusal(tell, 'admin', `approve ${otherApproval}`, yes)
    tell.check('nobody approves what they requested', self === 'self_approval')

    tell.say('The reviewer’s screen still shows that other deploy, so its hash is what comes back.')
    const stale = approver.approvals.approve(approval_id, { grant_hash: otherHash })
    const echo = await refusal(tell, 'approver', `${approve} as ${otherHash.slice(0, 12)}…`, stale)
    tell.check('a yes to something else is refused, and changes nothing', echo === 'approval_stale')
    tell.check('so far nothing was deployed', (await deployments()).length === 0)

    tell.ask('approver', `${approve} as ${grant_hash.slice(0, 12)}…`)
    const answered = await approver.approvals.approve(approval_id, { grant_hash, note: 'seen on stage' })
    tell.answer({ status: 200, word: answered.status, why: `by ${answered.answers.map(({ by }) => by).join(', ')}` })
    await succeeded(tell, agent, job_id)
    const { output } = await agent.jobs.result(job_id)
    tell.answer({ by: 'worker', word: 'exit 0', why: (output as { stdout?: string }).stdout?.trim() ?? '' })
    const deployed = await deployments()
    tell.check(
      'deployed once, and that version',
      deployed.join() === 'checkout 1.4.2 to production',
      deployed.join(', '),
    )

    await approver.approvals.reject(otherApproval, { reason: 'not on stage' })
    const rejected = await admin.jobs.wait(other.job_id, { timeoutMs: PATIENCE_MS })
    tell.check('the other one is rejected and never ran', rejected.status === 'rejected' && rejected.attempt === 0)
  },
}
