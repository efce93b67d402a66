import type { Dispatcher } from '../../loops/dispatcher.js'
import type { World } from '../../store/world.js'
import type { Authenticator } from '../auth.js'
import { docsPage } from '../docs.js'
import type { OpenCalls } from '../open-calls.js'
import { openapi } from '../openapi.js'
import type { Route } from '../route.js'
import { SubmitGuard } from '../submit-guard.js'
import { approvalRoutes } from './approvals.js'
import { type AuditEvents, auditRoutes } from './audit.js'
import { deadLetterRoutes } from './dead-letters.js'
import { decisionRoutes } from './decisions.js'
import { directoryRoutes } from './directory.js'
import { jobRoutes } from './jobs.js'
import { keyRoutes } from './keys.js'
import { type MetricsServed, metricsRoutes } from './metrics.js'
import { policyRoutes } from './policy.js'
import { type Health, systemRoutes } from './system.js'
import { type HeadOf, workerRoutes } from './workers.js'

export interface Served {
  world: World
  auth: Authenticator
  open: OpenCalls
  dispatcher: Dispatcher
  publicKey: Uint8Array
  events: AuditEvents
  headOf: HeadOf
  health: Health
  metrics: MetricsServed
  version: string
}

/** Every route there is. What is not in this list is not served, not documented and not permitted to anyone. */
export function allRoutes({
  world,
  auth,
  open,
  dispatcher,
  publicKey,
  events,
  headOf,
  health,
  metrics,
  version,
}: Served): Route[] {
  const api: Route[] = [
    ...jobRoutes(world, new SubmitGuard(world.clock)),
    ...decisionRoutes(world),
    ...approvalRoutes(world),
    ...policyRoutes(world),
    ...deadLetterRoutes(world),
    ...workerRoutes(world, dispatcher, headOf),
    ...auditRoutes(world, publicKey, events),
    ...keyRoutes(world, auth, open),
    ...directoryRoutes(world, auth),
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
  const routes: Route[] = [...api, ...systemRoutes(health, document)]
  return routes
}
