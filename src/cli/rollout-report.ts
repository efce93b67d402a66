import { writeFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { rollbackMarkdown } from '../core/rollout/report.js'
import { online, type ServerContext } from './command.js'
import { EXIT, type Exit } from './exit.js'
import { ended, type ProveFlags, proofOf, withProof } from './runs.js'

/** `sallyport rollouts report|retry|settle`: what a rollback did, and what people do about what stands in its way. */
export function registerRolloutReport(rollouts: Command): void {
  const report = rollouts
    .command('report')
    .description('what a rollback did, with its times, in Markdown; --json for the figures')
    .argument('<rollout>', 'its id')
    .option('--out <file>', 'write it there instead of printing it')
  online<ProveFlags & { out?: string }, [string]>(withProof(report), 'admin', showReport)

  const retry = rollouts
    .command('retry')
    .description('ask again for compensations that stand in the way of a rollback')
    .argument('<rollout>', 'its id')
    .option('--job <id>', 'only those of this job')
    .option('--effect <key>', 'only this effect')
    .option('--note <text>', 'kept with dead letters that are run again')
  online<{ job?: string; effect?: string; note?: string }, [string]>(
    retry,
    'admin',
    async ({ client, terminal }, { job, effect, note }, id) => {
      const done = await client.rollouts.retry(id, {
        ...(job === undefined ? {} : { job_id: job }),
        ...(effect === undefined ? {} : { effect_key: effect }),
        ...(note === undefined ? {} : { note }),
      })
      const refused = done.refused.map(({ job_id, code }) => `\n${job_id} was not run again: ${code}`).join('')
      terminal.show(done, () => `${done.asked} asked again, ${done.replayed.length} dead letters run again${refused}`)
      return done.refused.length > 0 ? EXIT.no : EXIT.done
    },
  )

  const settle = rollouts
    .command('settle')
    .description('say that an effect was undone by hand, or need not be; you answer for it in the audit log')
    .argument('<rollout>', 'its id')
    .requiredOption('--job <id>', 'whose effect it was to undo')
    .requiredOption('--effect <key>', 'which')
    .requiredOption('--note <text>', 'how it was settled')
  online<{ job: string; effect: string; note: string }, [string]>(
    settle,
    'admin',
    async ({ client, terminal }, { job, effect, note }, id) => {
      const settled = await client.rollouts.settle(id, { job_id: job, effect_key: effect, note })
      terminal.show(settled, () => `${effect} of ${job} is settled`)
    },
  )
}

async function showReport(
  { client, terminal }: ServerContext,
  flags: ProveFlags & { out?: string },
  id: string,
): Promise<Exit> {
  const report = await client.rollouts.report(id)
  const { proven, head } = await proofOf(client, report.timeline, flags, terminal)
  const markdown = rollbackMarkdown(report, { proven, head })
  if (flags.out !== undefined) {
    await writeFile(flags.out, markdown)
    terminal.show({ rollout_id: id, file: flags.out }, () => `${flags.out}  ${report.timeline.length} entries`)
  } else terminal.show({ ...report, head }, () => markdown)
  return ended(report.timeline, proven)
}
