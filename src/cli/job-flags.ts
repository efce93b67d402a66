import { readFile } from 'node:fs/promises'
import { text as readAll } from 'node:stream/consumers'
import type { Command } from 'commander'
import type { SubmitJob } from '../contract/jobs.js'
import { collect, keyValue } from './command.js'
import { usage } from './exit.js'

/** The flags that describe a job, in `jobs submit`, `policy explain`, `policy evaluate` and the drills. */
export interface JobFlags {
  topic?: string
  label?: Record<string, string>
  tag?: string[]
  input?: string
  context?: string
  agent?: string
  agentVersion?: string
  environment?: string
  actionType?: string
  capability?: string
  action?: string
  workflow?: string
  job?: string
}

export function withJobFlags(command: Command): Command {
  return command
    .option('--topic <topic>', 'what is to be done, e.g. job.deploy.apply')
    .option('--label <name=value>', 'a label; may be repeated', keyValue)
    .option('--tag <tag...>', 'risk tags', collect)
    .option('--input <json>', 'JSON, @FILE, or - for standard input')
    .option('--context <json>', 'JSON, @FILE, or -')
    .option('--environment <name>', 'where it happens')
    .option('--action-type <word>', 'create, update, delete, refund …')
    .option('--capability <name>', 'what of the system is used')
    .option('--action <name>', 'which of its actions')
    .option('--workflow <name>', 'the workflow it is part of')
    .option('--agent <name>', 'act as this agent, where the key may')
    .option('--agent-version <version>', 'what asks is this version of the agent; refused where a rollout says another')
    .option('--job <json>', 'the whole job as JSON, @FILE or -; the other flags go over it')
}

/** The job the flags describe. Throws usage errors that name the flag. */
export async function jobFrom(flags: JobFlags): Promise<SubmitJob> {
  const whole = flags.job === undefined ? {} : await jsonArgument('--job', flags.job)
  if (typeof whole !== 'object' || whole === null || Array.isArray(whole)) throw usage('--job: a JSON object is needed')
  const given = {
    topic: flags.topic,
    labels: flags.label,
    risk_tags: flags.tag,
    input: flags.input === undefined ? undefined : await jsonArgument('--input', flags.input),
    context: flags.context === undefined ? undefined : await jsonArgument('--context', flags.context),
    agent: flags.agent,
    agent_version: flags.agentVersion,
    environment: flags.environment,
    action_type: flags.actionType,
    capability: flags.capability,
    action: flags.action,
    workflow: flags.workflow,
  }
  const set = Object.entries(given).filter(([, value]) => value !== undefined)
  const job = Object.fromEntries([...Object.entries(whole), ...set])
  if (typeof job.topic !== 'string')
    throw usage('Which topic?', 'Say --topic job.repo.read, or --job \'{"topic": …}\'.')
  return job as unknown as SubmitJob
}

/** JSON as an argument, from a file after `@`, or from standard input for `-`. */
export async function jsonArgument(flag: string, given: string): Promise<unknown> {
  const text =
    given === '-' ? await readAll(process.stdin) : given.startsWith('@') ? await fileText(flag, given.slice(1)) : given
  try {
    return JSON.parse(text)
  } catch (error) {
    const from = given === '-' ? 'standard input' : given.startsWith('@') ? given.slice(1) : 'the argument'
    throw usage(
      `${flag}: ${from} is no JSON (${(error as Error).message})`,
      'JSON, @FILE with JSON, or - for standard input.',
    )
  }
}

async function fileText(flag: string, file: string): Promise<string> {
  return await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw usage(`${flag}: ${file} cannot be read (${error.code})`)
  })
}
