import type { Command } from 'commander'
import type { SubmitJob } from '../contract/jobs.js'
import type { Evaluated, PolicyChange, Snapshot } from '../contract/policy.js'
import { shortForm } from '../core/binding.js'
import type { JsonObject } from '../core/json.js'
import { compilePolicy } from '../core/policy/compile.js'
import { type Change, diffPolicies } from '../core/policy/diff.js'
import { evaluate, validateInput } from '../core/policy/evaluate.js'
import { explain, type Why } from '../core/policy/explain.js'
import { type FixtureResult, fixtureClaim, runFixtures } from '../core/policy/fixtures.js'
import { parsePolicy } from '../core/policy/parse.js'
import { placed } from '../core/policy/reader.js'
import { type Context, collect, offline, online, type ServerContext, wholeNumber, withServer } from './command.js'
import type { ConnectionFlags } from './connection.js'
import { EXIT, type Exit, usage } from './exit.js'
import { type JobFlags, jobFrom, withJobFlags } from './job-flags.js'
import { compiledFrom, documentAt, readPolicyFiles } from './policy-files.js'
import { impactCommand } from './policy-impact.js'
import { replayCommand } from './policy-replay.js'
import { moreLine, paintWord, settings } from './render.js'
import { duration, faultLine, fields, instant, jsonLine, printable, type Terminal, table } from './terminal.js'

export function registerPolicy(program: Command): void {
  const policy = program
    .command('policy')
    .description('check, test and explain policies; look at and change the one of a server')
  checkCommand(policy)
  testCommand(policy)
  explainCommand(policy)
  evaluateCommand(policy)
  diffCommand(policy)
  snapshotCommands(policy)
  impactCommand(policy)
  replayCommand(policy)
}

// check

function checkCommand(policy: Command): void {
  const command = policy
    .command('check')
    .description('every fault, with its place; exit 1 on errors')
    .argument('<path...>', 'files and folders of one policy, or - for standard input')
    .option('--strict', 'warnings fail too')
  offline<{ strict?: boolean }, [string[]]>(command, check)
}

async function check({ terminal }: Context, { strict }: { strict?: boolean }, paths: string[]): Promise<Exit> {
  const { document, faults } = parsePolicy(await readPolicyFiles(paths))
  const digest = document === null ? null : compilePolicy(document).digest
  const errors = faults.filter(({ severity }) => severity === 'error').length
  const warnings = faults.length - errors
  const ok = errors === 0 && !(strict === true && warnings > 0)
  const about = { rules: document?.rules.length ?? null, tests: document?.tests.length ?? null }
  const snapshot = digest === null ? null : shortForm(digest)
  terminal.show({ ok, errors, warnings, policy_snapshot: snapshot, digest, ...about, faults }, () => {
    const summary =
      snapshot === null
        ? `${errors} errors, ${warnings} warnings`
        : `${snapshot}  ${about.rules} rules, ${warnings} warnings`
    return [
      ...faults.map((fault) => faultLine(placed(fault), terminal.color)),
      ok ? terminal.color.green(summary) : terminal.color.red(summary),
    ].join('\n')
  })
  return ok ? EXIT.done : EXIT.no
}

// test

function testCommand(policy: Command): void {
  const command = policy
    .command('test')
    .description('run the `tests:` of a policy')
    .argument('<path...>', 'files and folders of one policy')
  offline<object, [string[]]>(command, test)
}

async function test({ terminal }: Context, _flags: object, paths: string[]): Promise<Exit> {
  const results = runFixtures(await compiledFrom(paths), Date.now())
  const failed = results.filter(({ pass }) => !pass).length
  // A run that tested nothing must not read as a pass.
  const ok = failed === 0 && results.length > 0
  terminal.show({ ok, passed: results.length - failed, failed, results }, () => {
    const summary = results.length === 0 ? 'there are no tests' : `${results.length - failed} passed, ${failed} failed`
    return [
      ...results.map((result) => fixtureText(result, terminal)),
      ok ? terminal.color.green(summary) : terminal.color.red(summary),
    ].join('\n')
  })
  return ok ? EXIT.done : EXIT.no
}

function fixtureText({ name, pass, differences, reason }: FixtureResult, { color }: Terminal): string {
  const line = `${pass ? color.green('pass') : color.red('FAIL')}  ${printable(name)}`
  if (pass) return line
  return [
    line,
    ...differences.map((difference) => `      ${printable(difference)}`),
    `      reason: ${printable(reason)}`,
  ].join('\n')
}

// explain and evaluate: the same question, to a file and to a server

function explainCommand(policy: Command): void {
  const command = policy
    .command('explain')
    .description('what a policy file decides about a job, and why; exit 1 on DENY')
    .argument('<path...>', 'files and folders of one policy')
  offline<JobFlags, [string[]]>(withJobFlags(command), explainFile)
}

async function explainFile({ terminal }: Context, flags: JobFlags, paths: string[]): Promise<Exit> {
  const policy = await compiledFrom(paths)
  const claim = fixtureClaim((await jobFrom(flags)) as unknown as JsonObject)
  const now = Date.now()
  const { decision, reason, rules, constraints, approval, limits, high_risk, effective } = evaluate(policy, claim, now)
  const input_faults = validateInput(policy, claim)
  const answer = {
    decision,
    reason,
    rules,
    constraints: { ...constraints },
    high_risk,
    policy_snapshot: shortForm(policy.digest),
    effective,
    why: explain(policy, claim, now),
  }
  terminal.show({ ...answer, approval, limits, input_faults }, () => {
    const faults = input_faults.map(({ path, message }) => `${path || '(whole)'} ${message}`).join('\n')
    return `${evaluatedText(answer, terminal)}${faults === '' ? '' : `\n${fields([['input', faults]], terminal.color)}`}`
  })
  return decision === 'DENY' ? EXIT.no : EXIT.done
}

function evaluateCommand(policy: Command): void {
  const command = policy
    .command('evaluate')
    .description(
      'what a submit would be answered by a server now; nothing is done or recorded. Exit 1 where it would be refused',
    )
    .option('--snapshot <id>', 'instead of the active one')
  online<JobFlags & { snapshot?: string }, []>(withJobFlags(command), 'admin', async ({ client, terminal }, flags) => {
    const job: SubmitJob = await jobFrom(flags)
    const answer = await client.policy.evaluate({
      job,
      ...(flags.snapshot === undefined ? {} : { policy_snapshot: flags.snapshot }),
    })
    terminal.show(answer, () => evaluatedText(answer, terminal))
    return answer.submit.status === null ? EXIT.no : EXIT.done
  })
}

/** Of a file there is no submit: it knows neither stops nor agents. */
function submitText({ submit }: { submit?: Evaluated['submit'] }): string | null {
  if (submit === undefined) return null
  const { status, code, missing, stop_id, retry_after_ms, granted_by, spot_check } = submit
  return [
    status ?? `refused, ${code}`,
    ...(stop_id === null ? [] : [`by ${stop_id}`]),
    ...(missing.length === 0 ? [] : [`missing ${missing.join(', ')}`]),
    ...(retry_after_ms === null ? [] : [`for ${duration(retry_after_ms)}`]),
    ...(granted_by === null ? [] : [`by ${granted_by}`]),
    ...(spot_check === null ? [] : [`but ${spot_check} % are asked about`]),
  ].join(', ')
}

type Answered = Omit<Evaluated, 'submit'> & { submit?: Evaluated['submit'] }

function evaluatedText(answer: Answered, { color }: Terminal): string {
  const why = answer.why as Why | null
  const matched = (why?.matched ?? []).map(({ rule, decision, reason, on }) => {
    const how =
      on === 'server' ? '' : on === 'claim' ? ' (only as the agent describes it)' : ' (could not be evaluated)'
    return `${rule}  ${decision}${how}${reason === null ? '' : `  ${reason}`}`
  })
  const nearly = (why?.nearly ?? []).map(({ rule, decision, failed }) => {
    const missing = failed.map(({ condition, expected, actual }) => `${condition} is ${actual}, not ${expected}`)
    return `${rule}  ${decision}  ${missing.join('; ')}`
  })
  const overruled = (why?.overruled ?? []).map(
    ({ key, claimed, held }) => `${key}: claimed ${claimed ?? 'nothing'}, held ${held ?? 'nothing'}`,
  )
  return fields(
    [
      ['decision', answer.decision, paintWord(answer.decision, color)],
      ['reason', answer.reason],
      ['submit now', submitText(answer)],
      ['decided by', why?.decided_by],
      ['constraints', settings(answer.constraints)],
      ['high risk', answer.high_risk ? 'yes' : null, color.yellow],
      ['matched', matched.join('\n') || 'no rule'],
      ['nearly', nearly.join('\n')],
      ['overruled', overruled.join('\n')],
      ['class', why?.denied_by_class],
      ['policy', answer.policy_snapshot],
    ],
    color,
  )
}

// diff

function diffCommand(policy: Command): void {
  const command = policy
    .command('diff')
    .description('what changes in meaning from one policy to another')
    .argument('<before>', 'file, folder, a snapshot of the server (v1:…), or `active`')
    .argument('<after>', 'the same')
    .option('--exit-code', 'exit 1 when there is a difference')
  offline<ConnectionFlags & { exitCode?: boolean }, [string, string]>(withServer(command, 'admin'), diff)
}

async function diff(
  context: Context,
  flags: ConnectionFlags & { exitCode?: boolean },
  before: string,
  after: string,
): Promise<Exit> {
  const { terminal } = context
  const [a, b] = [await documentAt(context, flags, before), await documentAt(context, flags, after)]
  const changes = diffPolicies(a, b)
  const digests = { before: compilePolicy(a).digest, after: compilePolicy(b).digest }
  terminal.show({ ...digests, changes }, () =>
    changes.length === 0
      ? 'no difference in meaning'
      : changes.map((change) => changeText(change, terminal)).join('\n'),
  )
  return flags.exitCode === true && changes.length > 0 ? EXIT.no : EXIT.done
}

const MARKS = { added: '+', removed: '-', changed: '~' } as const

function changeText({ change, what, id, fields: changed, effect }: Change, { color }: Terminal): string {
  const paint = { added: color.green, removed: color.red, changed: color.yellow }[change]
  const way = effect === null ? '' : effect === 'looser' ? color.red('  looser') : color.green('  tighter')
  const head = `${paint(`${MARKS[change]} ${what}`)}${id === '' ? '' : ` ${printable(id)}`}${way}`
  return [
    head,
    ...changed.map(({ path, before, after }) => `    ${printable(path)}: ${jsonLine(before)} → ${jsonLine(after)}`),
  ].join('\n')
}

// snapshots of a server

interface PushFlags {
  activate?: boolean
  note?: string
  author?: string
  commit?: string
  reviewedBy?: string[]
}

interface PageFlags {
  limit?: number
  cursor?: string
}

function snapshotCommands(policy: Command): void {
  const list = policy
    .command('snapshots')
    .description('the snapshots of a server, newest first')
    .option('--limit <n>', 'at most', wholeNumber(1, 500))
    .option('--cursor <cursor>', 'the page that the one before named')
  online<PageFlags, []>(list, 'admin', async ({ client, terminal }, { limit, cursor }) => {
    const page = await client.policy.snapshots({
      ...(limit === undefined ? {} : { limit }),
      ...(cursor === undefined ? {} : { cursor }),
    })
    terminal.show(page, () => snapshotTable(page.items, terminal))
    const more = moreLine(page.next_cursor)
    if (more !== null) terminal.note(more)
  })

  const show = policy
    .command('show')
    .description('the files of a snapshot')
    .argument('[snapshot]', 'the active one by default')
  online<object, [string?]>(show, 'admin', async ({ client, terminal }, _flags, id) => {
    const snapshot = await client.policy.snapshot(id ?? (await client.policy.get()).digest)
    terminal.show(snapshot, () =>
      (snapshot.files ?? [])
        .map(({ path, text }) => `# ${printable(path)}\n${printable(text, { lines: true })}`)
        .join('\n'),
    )
  })

  const push = policy
    .command('push')
    .description('send files as a new snapshot')
    .argument('<path...>', 'files and folders of one policy')
    .option('--activate', 'and let it decide from now on')
    .option('--note <text>', 'kept with it')
    .option('--author <name>', 'who wrote it')
    .option('--commit <id>', 'the commit it is from')
    .option('--reviewed-by <name...>', 'who looked at it', collect)
  online<PushFlags, [string[]]>(push, 'admin', pushFiles)

  const activate = policy
    .command('activate')
    .description('let a snapshot decide from now on; also to go back')
    .argument('<snapshot>', 'v1:… or the digest')
  online<object, [string]>(activate, 'admin', async ({ client, terminal }, _flags, id) =>
    showChange(await client.policy.activate(id), terminal),
  )

  const rollback = policy.command('rollback').description('let the snapshot decide that did so before the active one')
  online<object, []>(rollback, 'admin', async ({ client, terminal }) =>
    showChange(await client.policy.rollBack(), terminal),
  )
}

/** A script that wanted it to be active must not go on as if it were. */
function showChange(change: PolicyChange, terminal: Terminal): Exit {
  const { asked } = change
  terminal.show(change, () => snapshotText(change, terminal))
  if (asked === null || change.active) return EXIT.done
  const approval = 'approval_id' in asked ? asked.approval_id : undefined
  terminal.note(
    approval === undefined
      ? `Not active: the job that asks for it is ${asked.status}`
      : `Not active yet: ${asked.reason}. It waits for ${approval}`,
  )
  return EXIT.later
}

async function pushFiles({ client, terminal }: ServerContext, flags: PushFlags, paths: string[]): Promise<Exit> {
  const files = await readPolicyFiles(paths)
  if (files.length > 200) throw usage(`${files.length} files; a snapshot holds at most 200`)
  const snapshot = await client.policy.create({
    files,
    ...(flags.note === undefined ? {} : { note: flags.note }),
    ...(flags.author === undefined ? {} : { author: flags.author }),
    ...(flags.commit === undefined ? {} : { source_commit: flags.commit }),
    ...(flags.reviewedBy === undefined ? {} : { reviewers: flags.reviewedBy }),
    ...(flags.activate === undefined ? {} : { activate: true }),
  })
  return showChange(snapshot, terminal)
}

function snapshotText(snapshot: Snapshot, { color }: Terminal): string {
  return fields(
    [
      ['snapshot', snapshot.policy_snapshot, color.bold],
      ['active', snapshot.active ? 'yes' : 'no'],
      ['rules', snapshot.rules],
      ['warnings', snapshot.warnings.length],
      ['from', `${snapshot.source}, by ${snapshot.created_by}`],
      ['written by', snapshot.author],
      ['commit', snapshot.source_commit],
      ['reviewed by', snapshot.reviewers.join(', ')],
      ['created', instant(snapshot.created_at)],
      ['digest', snapshot.digest],
    ],
    color,
  )
}

function snapshotTable(snapshots: readonly Snapshot[], terminal: Terminal): string {
  return table(
    snapshots,
    [
      { title: 'SNAPSHOT', of: (snapshot) => snapshot.policy_snapshot, whole: true },
      { title: 'ACTIVE', of: (snapshot) => (snapshot.active ? 'active' : ''), paint: terminal.color.green },
      { title: 'RULES', of: (snapshot) => snapshot.rules, right: true },
      { title: 'FROM', of: (snapshot) => snapshot.source },
      { title: 'BY', of: (snapshot) => snapshot.created_by },
      { title: 'CREATED', of: (snapshot) => instant(snapshot.created_at) },
      { title: 'ACTIVATED', of: (snapshot) => instant(snapshot.activated_at) },
    ],
    terminal,
  )
}
