/** `sallyport/sdk`: ask for actions (`createClient`) and carry them out (`createWorker`). Needs nothing but Node. */

export type { Approval, ApprovalPage, ApprovalQuery, Approve, Reject } from './contract/approvals.js'
export type { AuditHead, AuditPage, AuditQuery, ConsistencyProof, InclusionProof } from './contract/audit.js'
export type { DeadLetter, DeadLetterPage } from './contract/dead-letters.js'
export type { Decision } from './contract/decisions.js'
export type {
  Accepted,
  BatchAnswer,
  Job,
  JobPage,
  JobQuery,
  JobStatus,
  Pointer,
  ResolveJob,
  Result,
  Run,
  SubmitBatch,
  SubmitJob,
  Timeline,
  TimelineEntry,
} from './contract/jobs.js'
export type { CreatedKey, CreateKey, Key, KeyPage } from './contract/keys.js'
export type { CreateSnapshot, Evaluate, Evaluated, Snapshot, SnapshotPage } from './contract/policy.js'
export type { Problem } from './contract/problems.js'
export { type Client, createClient } from './sdk/client.js'
export { SallyportError, TerminalError, TransientError } from './sdk/errors.js'
export { JobFailedError, type Jobs, type SubmitOptions, type WaitOptions } from './sdk/jobs.js'
export type { ConnectionOptions, RequestOptions } from './sdk/transport.js'
export {
  AttemptAborted,
  createWorker,
  type EffectContext,
  type EffectOptions,
  type Fork,
  type Handler,
  type HandlerContext,
  type HandlerJob,
  type SignedHead,
  type Worker,
  type WorkerLog,
  type WorkerOptions,
  type WorkerStats,
} from './sdk/worker.js'
