import type { GateAsked } from '../../journey/gate.js'
import type { Changer } from '../../loops/changer.js'
import type { Dispatcher } from '../../loops/dispatcher.js'
import type { Loop } from '../../loops/loop.js'
import type { Couriers } from '../../platform/courier.js'
import type { World } from '../../store/world.js'
import type { Authenticator } from '../auth.js'
import type { SignOnDesk } from '../desk.js'
import { docsPage } from '../docs.js'
import type { OpenCalls } from '../open-calls.js'
import { openapi } from '../openapi.js'
import type { Route } from '../route.js'
import { SubmitGuard } from '../submit-guard.js'
import { absenceRoutes } from './absences.js'
import { approvalRoutes } from './approvals.js'
import { type AuditEvents, auditRoutes } from './audit.js'
import { autonomyRoutes } from './autonomy.js'
import { breakerRoutes } from './breakers.js'
import { channelRoutes } from './channels.js'
import { compensationRoutes } from './compensations.js'
import { deadLetterRoutes } from './dead-letters.js'
import { decisionRoutes } from './decisions.js'
import { directoryRoutes } from './directory.js'
import { drillRoutes } from './drills.js'
import { gateRoutes } from './gates.js'
import { grantRoutes } from './grants.js'
import { jobRoutes } from './jobs.js'
import { keyRoutes } from './keys.js'
import { linkRoutes } from './links.js'
import { type MetricsServed, metricsRoutes } from './metrics.js'
import { policyRoutes } from './policy.js'
import { readinessRoutes } from './readiness.js'
import { replayRoutes } from './replays.js'
import { rolloutRoutes } from './rollouts.js'
import { sessionRoutes } from './sessions.js'
import { signOnRoutes } from './sign-on.js'
import { slackRoutes } from './slack.js'
import { stopRoutes } from './stops.js'
import { type Health, systemRoutes } from './system.js'
import { tokenRoutes } from './tokens.js'
import { type HeadOf, workerRoutes } from './workers.js'
import { workflowRoutes } from './workflows.js'

export interface Served {
  world: World
  auth: Authenticator
  open: OpenCalls
  changer: Changer
  dispatcher: Dispatcher
  replayer: Loop
  publicKey: Uint8Array
  gate: GateAsked
  events: AuditEvents
  headOf: HeadOf
  health: Health
  metrics: MetricsServed
  couriers: Couriers
  desk: SignOnDesk
  version: string
}

/** Every route there is. What is not in this list is not served, not documented and not permitted to anyone. */
export function allRoutes({
  world,
  auth,
  open,
  changer,
  dispatcher,
  replayer,
  publicKey,
  gate,
  events,
  headOf,
  health,
  metrics,
  couriers,
  desk,
  version,
}: Served): Route[] {
  const api: Route[] = [
    ...jobRoutes(world, new SubmitGuard(world.clock)),
    ...decisionRoutes(world),
    ...approvalRoutes(world),
    ...autonomyRoutes(world),
    ...workflowRoutes(world),
    ...grantRoutes(world),
    ...absenceRoutes(world),
    ...policyRoutes(world, changer),
    ...replayRoutes(world, replayer),
    ...deadLetterRoutes(world),
    ...stopRoutes(world),
    ...breakerRoutes(world),
    ...rolloutRoutes(world),
    ...gateRoutes(world, gate),
    ...compensationRoutes(world),
    ...drillRoutes(world),
    ...readinessRoutes(world),
    ...workerRoutes(world, dispatcher, headOf),
    ...auditRoutes(world, publicKey, events),
    ...keyRoutes(world, auth, open),
    ...tokenRoutes(world, new SubmitGuard(world.clock, 'minted tokens')),
    ...sessionRoutes(world, auth, open, desk),
    ...directoryRoutes(world, auth),
    ...channelRoutes(world, couriers),
    ...metricsRoutes(world, metrics, dispatcher),
  ]
  // Public and never different: written once, not for every caller.
  let json: string | null = null
  const document = {
    openapi: () => {
      json ??= JSON.stringify(openapi(routes, version))
      return json
    },
    docs: () => docsPage(routes, version),
  }
  const routes: Route[] = [
    ...api,
    ...linkRoutes(world),
    ...slackRoutes(world, couriers),
    ...signOnRoutes(desk),
    ...systemRoutes(health, document),
  ]
  return routes
}
