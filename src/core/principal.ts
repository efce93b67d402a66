import type { Role } from './access.js'
import type { StageStanding } from './autonomy.js'
import type { BreakerTerms } from './breaker.js'
import type { Claim } from './job.js'
import { type DataScope, type DataUse, uncovered } from './policy/data-use.js'
import { topicMatches } from './policy/topics.js'

export type { DataScope } from './policy/data-use.js'

export const KINDS = ['person', 'agent', 'worker', 'service'] as const
export type Kind = (typeof KINDS)[number]
export const RISK_TIERS = ['low', 'medium', 'high'] as const
export type RiskTier = (typeof RISK_TIERS)[number]

/** What an agent may do at all, whatever policy would allow; null is without bounds. */
export interface AgentTerms {
  version: string | null
  /** Topic patterns. */
  topics: string[] | null
  /** Action types, as the server holds them true. */
  actions: string[] | null
  data: DataScope[] | null
  risk_tier: RiskTier | null
  /** What people do while it may not: told to whoever is refused. */
  fallback: string | null
  /** When it is taken out by itself; absent: after three failures in a row. */
  breaker?: BreakerTerms | null
}

/** Whoever acts here. */
export interface Principal {
  tenant: string
  principal: string
  kind: Kind
  role: Role
  /** Of an agent: who owns it. */
  team: string | null
  name: string | null
  email: string | null
  /** Of a person: their id in Slack, `U…`, by whom a click there is. */
  slack?: string | null
  terms: AgentTerms | null
  /** Who declared it: a file that `apply` made so, a call, the making of its first key, or groups of the provider people sign on at. */
  source: Source
  created_at: number
  updated_at: number
  updated_by: string
  /** Since when it may do nothing; null while it may. */
  disabled_at: number | null
}

export type Source = 'file' | 'api' | 'key' | 'group'

export interface Team {
  tenant: string
  team: string
  name: string | null
  /** People who answer for it and see its agents' work without asking. */
  leads: string[]
  /** Who is asked first stands first. */
  on_call: string[]
  source: Source
  updated_at: number
  updated_by: string
}

/** What the door reads of an agent; stored with the decision. */
export interface AgentStanding extends AgentTerms {
  disabled: boolean
  /** Bounded workflows of the tenant that are open; absent where none is. */
  workflows?: string[]
  /** Absent where the agent is not managed: policy alone decides. */
  stage?: StageStanding
}

export const UNBOUND: AgentTerms = {
  version: null,
  topics: null,
  actions: null,
  data: null,
  risk_tier: null,
  fallback: null,
}

/** Names of the plane itself, by which its own steps are on record: nobody else goes by them. */
export const isReserved = (name: string): boolean => name.startsWith('system:')
export const RESERVED = 'names that begin with system: are those of the plane itself'

export function kindOf(role: Role): Kind {
  return role === 'agent' || role === 'worker' ? role : 'person'
}

/** Null where nothing about this agent can change a decision: then none is stored with any of them. */
export function agentStanding(
  { terms, disabled_at }: Pick<Principal, 'terms' | 'disabled_at'>,
  stage: StageStanding | null = null,
  workflows: readonly string[] = [],
): AgentStanding | null {
  if (terms === null && disabled_at === null && stage === null && workflows.length === 0) return null
  const standing: AgentStanding = { ...(terms ?? UNBOUND), disabled: disabled_at !== null }
  if (workflows.length > 0) standing.workflows = [...workflows]
  if (stage !== null) standing.stage = { stage: stage.stage, spot_check: stage.spot_check, asks: stage.asks }
  return standing
}

/** A caller mends what it reads; a list of thousands is none. */
const MOST_MISSING = 20

/** What this agent lacks to do this, in words; empty where it may. An action nobody named is none of those it may do. */
export function beyondScope(
  agent: AgentStanding,
  claim: Pick<Claim, 'agent' | 'topic'>,
  { action_type, data }: { action_type: string | null; data?: readonly DataUse[] },
): string[] {
  const { topics, actions, disabled } = agent
  if (disabled) return [`${claim.agent} is disabled`]
  const missing: string[] = []
  if (topics !== null && !topics.some((pattern) => topicMatches(pattern, claim.topic)))
    missing.push(`topic ${claim.topic}`)
  if (actions !== null && (action_type === null || !actions.includes(action_type)))
    missing.push(action_type === null ? 'an action_type' : `action ${action_type}`)
  if (agent.data !== null && data !== undefined) {
    const open = data.flatMap((use) => uncovered(use, agent.data!))
    missing.push(...open.slice(0, MOST_MISSING))
    if (open.length > MOST_MISSING) missing.push(`and ${open.length - MOST_MISSING} more`)
  }
  return missing
}
