import * as Wire from '../../contract/evidence.js'
import type { RolloutReview } from '../../core/gates/review.js'
import { Problem } from '../../errors.js'
import { evaluateGateNow, type GateAsked } from '../../journey/gate.js'
import { reviewRollout } from '../../journey/rollout-reviews.js'
import { type EvidenceRow, getEvidence, pageOfEvidence } from '../../store/evidence.js'
import { pageOfReviews } from '../../store/rollout-reviews.js'
import { getRollout } from '../../store/rollouts.js'
import type { World } from '../../store/world.js'
import type { Route } from '../route.js'

const READ = ['rollouts:read'] as const

/** What gates of rollouts say, and what people say of rollouts. */
export function gateRoutes(world: World, asked: GateAsked): Route[] {
  const known = async (tenant: string, rollout_id: string) => {
    if ((await getRollout(world.db, tenant, rollout_id)) === null) throw new Problem('not_found')
    return rollout_id
  }
  return [
    {
      method: 'POST',
      path: '/rollouts/{rollout_id}/gate',
      permission: ['rollouts:write'],
      tag: 'gates',
      summary: 'Ask the gate of the phase it is in now, and keep what it says, signed',
      description:
        'Counts what the newest signed head of the log covers. Whatever is missing, stale or too little is `inconclusive` and promotes nothing. A program asks before each increase of traffic; the plane looks by itself every ten seconds.',
      body: Wire.AskGate,
      optionalBody: true,
      success: { status: 200, schema: Wire.GateEvidence, description: 'The evidence, whatever it says' },
      errors: ['invalid', 'not_found', 'illegal_transition', 'no_policy', 'overloaded'],
      async handler({ caller, params, body }) {
        const { form } = body as Wire.AskGate
        return { body: viewEvidence(await evaluateGateNow(world, asked, caller, params.rollout_id as string, form)) }
      },
    },
    {
      method: 'GET',
      path: '/rollouts/{rollout_id}/evidence',
      permission: READ,
      tag: 'gates',
      summary: 'Evidence that was kept of its gates, newest first',
      query: Wire.EvidenceQuery,
      success: { status: 200, schema: Wire.EvidencePage, description: 'A page' },
      errors: ['invalid', 'not_found'],
      async handler({ caller: { tenant }, params, query }) {
        const rollout_id = await known(tenant, params.rollout_id as string)
        const { items, next_cursor } = await pageOfEvidence(world.db, tenant, rollout_id, query as Wire.EvidenceQuery)
        return { body: { items: items.map(({ tenant: _, ...item }) => item), next_cursor } }
      },
    },
    {
      method: 'GET',
      path: '/evidence/{evidence_hash}',
      permission: READ,
      tag: 'gates',
      summary: 'One piece of evidence, as `sallyport gate verify` reads it',
      success: { status: 200, schema: Wire.GateEvidence, description: 'The evidence with its seal' },
      errors: ['not_found'],
      async handler({ caller, params }) {
        const row = await getEvidence(world.db, caller.tenant, params.evidence_hash as string)
        if (row === null) throw new Problem('not_found')
        return { body: viewEvidence(row) }
      },
    },
    ...reviewRoutes(world, known),
  ]
}

function reviewRoutes(world: World, known: (tenant: string, rollout_id: string) => Promise<string>): Route[] {
  return [
    {
      method: 'GET',
      path: '/rollouts/{rollout_id}/reviews',
      permission: READ,
      tag: 'gates',
      summary: 'Signatures and weekly reviews, newest first',
      query: Wire.EvidenceQuery,
      success: { status: 200, schema: Wire.RolloutReviewPage, description: 'A page' },
      errors: ['invalid', 'not_found'],
      async handler({ caller: { tenant }, params, query }) {
        const rollout_id = await known(tenant, params.rollout_id as string)
        const { items, next_cursor } = await pageOfReviews(world.db, tenant, rollout_id, query as Wire.EvidenceQuery)
        return { body: { items: items.map(viewReview), next_cursor } }
      },
    },
    {
      method: 'POST',
      path: '/rollouts/{rollout_id}/reviews',
      permission: ['rollouts:review'],
      tag: 'gates',
      summary: 'Sign under the phase it is in, or say what its last week was like',
      description:
        'A person’s word, under their own name. A signature counts for a week, and only of somebody whom the phase asks for and who did not declare the rollout; a weekly review counts for nine days.',
      body: Wire.ReviewRollout,
      success: { status: 201, schema: Wire.RolloutReview, description: 'What was kept' },
      errors: [
        ...(['invalid', 'not_found', 'forbidden', 'self_approval', 'illegal_transition'] as const),
        ...(['evidence_stale', 'overloaded'] as const),
      ],
      async handler({ caller, params, body }) {
        const said = body as Wire.ReviewRollout
        return { status: 201, body: viewReview(await reviewRollout(world, caller, params.rollout_id as string, said)) }
      },
    },
  ]
}

/** The document as it was signed, and beside it the seal. */
function viewEvidence({ text, evidence_hash, form, signature, public_key }: EvidenceRow): Wire.GateEvidence {
  return { ...JSON.parse(text), seal: { evidence_hash, form, signature, public_key } }
}

/** With which key somebody spoke is nobody's to read. */
function viewReview({ tenant: _tenant, key_id: _key, ...review }: RolloutReview): Wire.RolloutReview {
  return review
}
