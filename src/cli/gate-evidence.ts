import { readFile, writeFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { parse as parseYaml } from 'yaml'
import type { GateEvidence } from '../contract/evidence.js'
import { parsePublicKey } from '../core/audit/keys.js'
import { type EvidenceReport, verifyEvidence } from '../core/evidence-file.js'
import type { RolloutDocument } from '../core/rollout/document.js'
import { parseRollout } from '../core/rollout/parse.js'
import { openLogs, publicKey } from './audit-log.js'
import { type Context, offline, oneOf, online, onlineContext, withServer } from './command.js'
import type { ConnectionFlags } from './connection.js'
import { EXIT, type Exit, usage } from './exit.js'
import { fields, type Terminal, table } from './terminal.js'

export function registerEvidence(gate: Command): void {
  const evaluate = gate
    .command('evaluate')
    .description('ask the gate of a rollout now; exit 0 only on pass, 1 on fail, 3 where nothing is proven')
    .argument('<rollout>', 'id of the rollout')
    .option('--form <form>', 'gate: the guide’s evidence; launch: the checklist’s contract', oneOf('gate', 'launch'))
    .option('--out <file>', 'keep the evidence, as `gate verify` reads it')
  online<{ form?: 'gate' | 'launch'; out?: string }, [string]>(
    evaluate,
    'admin',
    async ({ client, terminal }, { form, out }, rollout) => {
      const path = `/api/v1/rollouts/${encodeURIComponent(rollout)}/gate`
      const evidence = await client.request<GateEvidence>('POST', path, { body: form === undefined ? {} : { form } })
      if (out !== undefined) await keep(out, evidence)
      terminal.show(evidence, () => evidenceText(evidence, terminal))
      return { pass: EXIT.done, fail: EXIT.no, inconclusive: EXIT.notChecked, error: EXIT.notChecked }[evidence.outcome]
    },
  )
  const verify = gate
    .command('verify')
    .description('check evidence by itself: that it follows from its basis, who signed it, and that the log says so')
    .argument('<file>', 'as --out or GET /evidence/HASH wrote it')
    .option('--key <key>', 'the public key to trust: a file, name+id+base64, PEM or base64')
    .option('--server', 'trust the key that the server names')
    .option('--declaration <file>', 'of the rollout, YAML or JSON: its gate has to be the one that was declared')
    .option('--log <export>', 'an export of the audit log: it has to hold the head and the entry of this evidence')
    .addHelpText(
      'after',
      '\nExit 0: all that could be asked holds. 1: something does not. 3: nothing wrong found, but no key was given, so anybody may have made it.',
    )
  offline<VerifyFlags, [string]>(withServer(verify, 'admin'), verifyFile)
}

interface VerifyFlags extends ConnectionFlags {
  key?: string
  server?: boolean
  declaration?: string
  log?: string
}

async function keep(file: string, evidence: GateEvidence): Promise<void> {
  await writeFile(file, `${JSON.stringify(evidence, null, 2)}\n`).catch((error: NodeJS.ErrnoException) => {
    throw usage(`--out: ${file} cannot be written (${error.code})`)
  })
}

async function verifyFile(context: Context, flags: VerifyFlags, file: string): Promise<Exit> {
  if (flags.key !== undefined && flags.server === true) throw usage('--key and --server name two keys')
  const text = await read(file, file)
  const key =
    flags.key !== undefined ? await publicKey(flags.key) : flags.server ? await keyOfServer(context, flags) : null
  const declaration = flags.declaration === undefined ? null : await readDeclaration(flags.declaration)
  const { logs, close } =
    flags.log === undefined ? { logs: [], close: async () => {} } : await openLogs(context, { export: flags.log })
  try {
    const report = await verifyEvidence(text, { key, declaration, log: logs[0]?.records() ?? null })
    context.terminal.show(report, () => reportText(report, context.terminal))
    if (report.key === 'FROM FILE')
      context.terminal.note('Its own key was taken at its word. Give the one you trust with --key, or --server.')
    return !report.ok ? EXIT.no : report.key === 'FROM FILE' ? EXIT.notChecked : EXIT.done
  } finally {
    await close()
  }
}

async function read(file: string, name: string): Promise<string> {
  return readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw usage(`${name} cannot be read (${error.code})`)
  })
}

async function keyOfServer(context: Context, flags: VerifyFlags): Promise<Uint8Array> {
  const { client } = await onlineContext(context, flags, 'admin')
  return parsePublicKey((await client.audit.head()).public_key)
}

async function readDeclaration(file: string): Promise<RolloutDocument> {
  const text = await read(file, `--declaration: ${file}`)
  let value: unknown
  try {
    value = parseYaml(text, { maxAliasCount: 0 })
  } catch (error) {
    throw usage(`--declaration: ${file} is no YAML: ${(error as Error).message.split('\n')[0]}`)
  }
  const { document, faults } = parseRollout(value)
  const [fault] = faults
  if (document === null) throw usage(`--declaration: ${file}: ${fault?.path} ${fault?.message}`)
  return document
}

function evidenceText(evidence: GateEvidence, terminal: Terminal): string {
  const { color } = terminal
  const { gate_id, decision, outcome, reason, seal, checks, blockers } = evidence
  const rows = Object.entries(checks ?? blockers ?? {}).map(([metric, check]) => ({ metric, ...check }))
  const targetOf = ({ target_gte, target_lte, target_eq }: (typeof rows)[number]) =>
    target_gte !== undefined ? `≥ ${target_gte}` : target_lte !== undefined ? `≤ ${target_lte}` : `= ${target_eq}`
  const listed = table(
    rows,
    [
      { title: 'METRIC', of: ({ metric }) => metric, whole: true },
      { title: 'VALUE', of: ({ value }) => (value === null ? null : String(value)), right: true },
      { title: 'TARGET', of: targetOf, right: true },
      {
        title: 'PASS',
        of: ({ pass }) => (pass ? 'yes' : 'no'),
        paint: (text, { pass }) => (pass ? color.green(text) : color.red(text)),
      },
    ],
    terminal,
  )
  const paint = outcome === 'pass' ? color.green : color.red
  const said = fields(
    [
      ['gate', gate_id],
      ['outcome', outcome.toUpperCase(), paint],
      ['reason', reason],
      ['decision', decision],
      ['evidence', seal.evidence_hash],
    ],
    color,
  )
  return `${listed}\n${said}`
}

function reportText({ ok, checks, key, tenant, evidence_hash, outcome }: EvidenceReport, { color }: Terminal): string {
  return fields(
    [
      ['evidence', evidence_hash],
      ['says', outcome],
      ['of tenant', tenant],
      ['key', key === 'GIVEN' ? key : `${key} (taken at its word)`],
      ...checks.map(({ check, faults }): [string, string, (text: string) => string] => [
        check,
        faults === null ? 'NOT CHECKED' : faults.length === 0 ? 'holds' : faults.slice(0, 10).join('\n'),
        faults === null ? color.yellow : faults.length === 0 ? color.green : color.red,
      ]),
      ['result', ok ? 'NO FAULT FOUND' : 'DOES NOT HOLD', ok ? color.green : color.red],
    ],
    color,
  )
}
