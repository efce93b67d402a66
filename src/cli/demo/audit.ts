import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type AuditRecord, readExport } from '../../core/audit/export.js'
import { parsePublicKey } from '../../core/audit/keys.js'
import { type VerifyReport, verifyExitCode, verifyLog } from '../../core/audit/verify.js'
import { exportLines } from '../audit-log.js'
import { type Forgery, withOtherApprover, withoutTail } from './forgery.js'
import type { Stage } from './stage.js'
import type { Scene, Tell } from './story.js'

export const audit: Scene = {
  title: 'The audit log proves itself',
  why: 'Everything above is in a log that is hashed into a tree and signed. Whoever kept a signed head outside can check, on another machine and without the server, that no entry was changed and none is missing.',
  async play(stage, tell) {
    const { admin, plane, heads, folder } = stage
    const newest = await admin.audit.head()
    heads.push(newest.checkpoint)
    const keys = [parsePublicKey(newest.public_key)]
    tell.say(`Outside are kept: the public key, the head from step 1, and one from now of ${newest.size} entries.`)

    const lines = await exported(stage)
    const whole = await verified(tell, 'audit verify', lines, { keys, outsideHeads: heads })
    tell.check(
      'the log is whole, and nothing is missing at its end',
      verifyExitCode(whole) === 0 && whole.truncation === 'CHECKED',
      `${whole.entries} entries of ${whole.tiles} commits`,
    )

    tell.say('Somebody with the file edits a copy: another person is to have approved the deploy.')
    const edited = withOtherApprover(lines, 'approver:first', 'admin:first')
    tell.check('one word of one entry is changed', edited !== null)
    if (edited !== null) await caughtEdit(tell, stage, edited, keys)

    tell.say(
      'Somebody else cuts the tail off, back to an earlier signed head: no denial ever happened. This copy is consistent by itself.',
    )
    const cut = withoutTail(lines, 'job.denied')
    tell.check(
      'everything from the first denial on is gone',
      cut !== null,
      `entries ${cut?.index} to ${newest.size - 1}`,
    )
    if (cut !== null) await caughtCut(tell, stage, cut, keys)
    await writeFile(join(folder, 'heads.txt'), heads.join('\n'))
    await writeFile(join(folder, 'installation.pub'), `${newest.public_key}\n`)
    const still = await verified(tell, `audit verify --url ${plane.url}`, await exported(stage), {
      keys,
      outsideHeads: heads,
    })
    tell.check('the log of the server itself is whole still', verifyExitCode(still) === 0)
  },
}

async function caughtEdit(tell: Tell, stage: Stage, { lines, index, before, after }: Forgery, keys: Uint8Array[]) {
  tell.show({ before, after }, ({ color }) => [color.red(`- ${before}`), color.green(`+ ${after}`)].join('\n'))
  await keep(stage, 'edited.jsonl', lines)
  const report = await verified(tell, 'audit verify --export edited.jsonl', lines, { keys, outsideHeads: stage.heads })
  const bad = report.first_bad_entry
  tell.check(
    'caught, and the bad entry is named',
    verifyExitCode(report) === 1 && bad?.exact === true && bad.index === index,
    `entry ${bad?.index}`,
  )
}

async function caughtCut(tell: Tell, stage: Stage, { lines, index }: Forgery, keys: Uint8Array[]) {
  await keep(stage, 'cut.jsonl', lines)
  const alone = await verified(tell, 'audit verify --export cut.jsonl', lines, { keys })
  tell.check('without a head from outside the verifier says that it cannot know', verifyExitCode(alone) === 3)
  const report = await verified(tell, 'audit verify --export cut.jsonl --head heads.txt', lines, {
    keys,
    outsideHeads: stage.heads,
  })
  tell.check(
    'with it the cut is caught, and the first missing entry is named',
    verifyExitCode(report) === 1 && report.first_bad_entry?.index === index,
    `entry ${report.first_bad_entry?.index}`,
  )
}

async function exported({ admin, plane }: Stage): Promise<string[]> {
  const lines: string[] = []
  for await (const line of exportLines(admin, plane.url)) lines.push(line)
  return lines
}

async function verified(
  tell: Tell,
  command: string,
  lines: readonly string[],
  options: { keys: readonly Uint8Array[]; outsideHeads?: readonly string[] },
): Promise<VerifyReport> {
  tell.ask('auditor', command)
  const records: AsyncIterable<AuditRecord> = readExport(lines)
  const report = await verifyLog(records, options)
  const [fault] = report.faults
  const verdict = report.ok ? (report.truncation === 'CHECKED' ? 'WHOLE' : 'NOT CHECKED') : 'TAMPERED'
  const why = fault === undefined ? `truncation: ${report.truncation}` : `${fault.code}: ${fault.message}`
  tell.answer(verdict, `exit ${verifyExitCode(report)}, ${why}`)
  return report
}

/** For whoever keeps the folder and wants to look at the forgery by hand. */
async function keep({ folder }: Stage, name: string, lines: readonly string[]): Promise<void> {
  await writeFile(join(folder, name), `${lines.join('\n')}\n`)
}
