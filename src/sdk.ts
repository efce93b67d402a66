/** `sallyport/sdk`: ask for actions (`createClient`) and carry them out (`createWorker`). Needs nothing but Node. */
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
