import type { TSchema } from 'typebox'
import { Approval, ApprovalPage, ApprovalStatus, Approve, Reject } from './approvals.js'
import { AuditHead, AuditPage, ConsistencyProof, InclusionProof } from './audit.js'
import { DeadLetter, DeadLetterPage } from './dead-letters.js'
import { Decision } from './decisions.js'
import {
  Accepted,
  BatchAnswer,
  CancelJob,
  Constraints,
  Job,
  JobPage,
  JobStatus,
  NoteBody,
  Pointer,
  ReasonBody,
  ResolveJob,
  Result,
  Run,
  SubmitBatch,
  SubmitJob,
  Timeline,
  TimelineEntry,
} from './jobs.js'
import { CreatedKey, CreateKey, Key, KeyPage, Role } from './keys.js'
import { Measurement, Measurements, TopicState, TopicStates } from './metrics.js'
import { CreateSnapshot, Evaluate, Evaluated, Snapshot, SnapshotPage } from './policy.js'
import { Problem } from './problems.js'
import { DecisionWord, Labels, RiskTags, Verdict } from './scalars.js'
import {
  Claim,
  Claimed,
  Complete,
  CompleteAnswer,
  Completion,
  Effect,
  EffectAnswer,
  Heartbeat,
  HeartbeatAnswer,
  LeasedJob,
} from './workers.js'

/**
 * The wire's nouns: the schemas OpenAPI names, in the order a reader meets them. A schema that stands in none of these and
 * is used in two places is a noun without a name.
 */
export const COMPONENTS: Record<string, TSchema> = {
  SubmitJob,
  SubmitBatch,
  Accepted,
  BatchAnswer,
  Job,
  JobPage,
  JobStatus,
  Labels,
  RiskTags,
  Constraints,
  CancelJob,
  ResolveJob,
  Result,
  Verdict,
  Pointer,
  Run,
  Timeline,
  TimelineEntry,
  Decision,
  DecisionWord,
  Approval,
  ApprovalPage,
  ApprovalStatus,
  Approve,
  Reject,
  Snapshot,
  SnapshotPage,
  CreateSnapshot,
  Evaluate,
  Evaluated,
  DeadLetter,
  DeadLetterPage,
  NoteBody,
  ReasonBody,
  Claim,
  Claimed,
  LeasedJob,
  Heartbeat,
  HeartbeatAnswer,
  Effect,
  EffectAnswer,
  Complete,
  Completion,
  CompleteAnswer,
  AuditPage,
  AuditHead,
  InclusionProof,
  ConsistencyProof,
  Key,
  KeyPage,
  Role,
  CreateKey,
  CreatedKey,
  Measurement,
  Measurements,
  TopicState,
  TopicStates,
  Problem,
}
