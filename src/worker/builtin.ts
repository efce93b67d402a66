import { type DeployApplyOptions, deployApply } from './deploy-apply.js'
import { type ExecShellOptions, execShell } from './exec-shell.js'
import type { Handler } from './handler.js'
import { type IntegrationsCallOptions, integrationsCall } from './integrations-call.js'
import { type RepoReadOptions, repoRead } from './repo-read.js'

export interface BuiltinConfig {
  readonly repo?: RepoReadOptions
  readonly shell?: ExecShellOptions
  readonly integrations?: IntegrationsCallOptions
  readonly deploy?: DeployApplyOptions
  /** Topics to serve; default those whose part is given. */
  readonly topics?: readonly string[]
}

export const BUILTIN_TOPICS = ['job.repo.read', 'job.exec.shell', 'job.integrations.call', 'job.deploy.apply'] as const
export type BuiltinTopic = (typeof BUILTIN_TOPICS)[number]

export interface Builtin {
  readonly topics: Readonly<Record<string, Handler<unknown>>>
  /** Constraints the handlers keep or, where they cannot, refuse the job for. */
  readonly enforces: readonly string[]
}

/**
 * The handlers of `sallyport worker`, ready for `createWorker`. By default only topics with a configuration are served:
 * in a fleet a worker without a deploy command must not take deployments from the one that has it. One named in
 * `topics` without its part is served and refuses every job (`not_configured`, `no_allow_list`).
 * @throws RangeError for a topic that is none of BUILTIN_TOPICS
 */
export function builtinHandlers(config: BuiltinConfig): Builtin {
  const parts: Record<BuiltinTopic, unknown> = {
    'job.repo.read': config.repo,
    'job.exec.shell': config.shell,
    'job.integrations.call': config.integrations,
    'job.deploy.apply': config.deploy,
  }
  const handlers: Record<BuiltinTopic, Handler<unknown>> = {
    'job.repo.read': repoRead(config.repo ?? { roots: [] }),
    'job.exec.shell': execShell(config.shell ?? {}),
    'job.integrations.call': integrationsCall(config.integrations ?? {}),
    'job.deploy.apply': deployApply(config.deploy ?? {}),
  }
  const topics: Record<string, Handler<unknown>> = {}
  for (const topic of config.topics ?? BUILTIN_TOPICS.filter((known) => parts[known] !== undefined)) {
    if (!isBuiltin(topic))
      throw new RangeError(`no built-in handler for ${topic}; there are ${BUILTIN_TOPICS.join(', ')}`)
    topics[topic] = handlers[topic]
  }
  return { topics, enforces: ['allowed_hosts'] }
}

function isBuiltin(topic: string): topic is BuiltinTopic {
  return (BUILTIN_TOPICS as readonly string[]).includes(topic)
}
