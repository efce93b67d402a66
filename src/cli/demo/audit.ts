import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { readExport } from '../../core/audit/export.js'
import { parsePublicKey } from '../../core/audit/keys.js'
import { type VerifyReport, verifyExitCode, verifyLog } from '../../core/audit/verify.js'
import { exportLines } from '../audit-log.js'
import { withOtherApprover, withoutTail } from './forgery.js'
import type { Stage } from './stage.js'
import type { Scene, Tell } from './story.js'

/** What is kept outside, as files that `sallyport audit verify` takes. */
export const HEADS = 'heads.txt'
export const PUBLIC_KEY = 'installation.pub'
export const EDITED = 'edited.jsonl'
export const CUT = 'cut.jsonl'

export const audit: Scene = {
  title: 'The audit log proves itself',
  why: 'All of this is in a log that is hashed into a tree and signed. Whoever kept a signed head outside can check, on another machine and without the server, that no entry was changed and none is missing.',
  async play(stage, tell) {
    const { admin, outside, folder } = stage
    const { size, checkpoint } = await admin.audit.head()
    outside.heads.push(checkpoint)
    await writeFile(join(folder, HEADS), outside.heads.join('\n'))
    await writeFile(join(folder, PUBLIC_KEY), `${outside.publicKey}\n`)
    tell.say(`Outside are kept: the public key and a head from step 1, and now a head of ${size} entries.`)

    const lines = await exported(stage)
    const whole = await verified(tell, stage, lines, {})
    tell.check('every entry is as it was signed', whole.ok, `${whole.entries} entries of ${whole.tiles} commits`)
    tell.check(
      'none is missing at the end',
      verifyExitCode(whole) === 0,
      `checked up to ${whole.truncation_checked_to}`,
    )
    await catchEdit(tell, stage, lines)
    await catchCut(tell, stage, lines)
    tell.say('Those were copies. The log of the server itself:')
    const still = await verified(tell, stage, await exported(stage), {})
    tell.check('it is whole still', verifyExitCode(still) === 0)
  },
}

async function catchEdit(tell: Tell, stage: Stage, lines: readonly string[]): Promise<void> {
  tell.say('Somebody edits one word in a copy: another person is to have approved the deploy.')
  const forgery = withOtherApprover(lines, 'approver:first', 'admin:first')
  if (forgery === null) return tell.check('there is an approval to edit', false)
  const { before, after, index } = forgery
  tell.show({ index, before, after }, ({ color }) =>
    [color.red(`- ${index}  ${before}`), color.green(`+ ${index}  ${after}`)].join('\n'),
  )
  const report = await verified(tell, stage, forgery.lines, { file: EDITED })
  const bad = report.first_bad_entry
  tell.check('caught', verifyExitCode(report) === 1)
  tell.check('the bad entry is named', bad?.exact === true && bad.index === index, `entry ${bad?.index}`)
}

async function catchCut(tell: Tell, stage: Stage, lines: readonly string[]): Promise<void> {
  tell.say(
    'Somebody else cuts the tail off a copy, back to an earlier signed head, so that no denial ever happened. By itself such a copy is consistent.',
  )
  const forgery = withoutTail(lines, 'job.denied')
  if (forgery === null) return tell.check('there is a denial to hide', false)
  const { index } = forgery
  const alone = await verified(tell, stage, forgery.lines, { file: CUT, heads: false })
  tell.check('without a head from outside the verifier says what it cannot know', verifyExitCode(alone) === 3)
  const report = await verified(tell, stage, forgery.lines, { file: CUT })
  tell.check('with one the cut is caught', verifyExitCode(report) === 1)
  const bad = report.first_bad_entry
  tell.check('the first missing entry is named', bad?.index === index, `entry ${bad?.index}`)
}

async function exported({ admin, plane }: Stage): Promise<string[]> {
  const lines: string[] = []
  for await (const line of exportLines(admin, plane.url)) lines.push(line)
  return lines
}

const VERDICTS = {
  0: { word: 'WHOLE', tone: 'good' },
  1: { word: 'TAMPERED WITH', tone: 'bad' },
  3: { word: 'NO FAULT FOUND', tone: 'doubtful' },
} as const

/** Verifies as the command does, and tells the command. A forgery is written down too, for whoever keeps the folder. */
async function verified(
  tell: Tell,
  { folder, outside }: Stage,
  lines: readonly string[],
  { file, heads = true }: { file?: string; heads?: boolean },
): Promise<VerifyReport> {
  if (file !== undefined) await writeFile(join(folder, file), `${lines.join('\n')}\n`)
  const words = [file && `--export ${file}`, heads && `--head ${HEADS}`, `--key ${PUBLIC_KEY}`]
  tell.ask('auditor', ['sallyport audit verify', ...words].filter(Boolean).join(' '))
  const report = await verifyLog(readExport(lines), {
    keys: [parsePublicKey(outside.publicKey)],
    outsideHeads: heads ? outside.heads : [],
  })
  const [fault] = report.faults
  const why = fault === undefined ? `truncation: ${report.truncation}` : `${fault.code}: ${fault.message}`
  tell.answer({ ...VERDICTS[verifyExitCode(report)], why: `${why} (exit ${verifyExitCode(report)})` })
  return report
}
