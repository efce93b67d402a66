import { createInterface } from 'node:readline/promises'
import type { Command } from 'commander'
import { type Context, offline } from './command.js'
import { audit, EDITED, HEADS, PUBLIC_KEY } from './demo/audit.js'
import { crash } from './demo/crash.js'
import { deploy } from './demo/deploy.js'
import { privateKey, secret } from './demo/results.js'
import { openStage, type Stage } from './demo/stage.js'
import { type Scene, Story } from './demo/story.js'
import { calls, commits, destruction } from './demo/work.js'
import { CliError, EXIT, type Exit, usage } from './exit.js'
import { fields, type Pair, type Terminal } from './terminal.js'
import { cannotStart } from './up.js'

const SCENES: readonly Scene[] = [commits, calls, deploy, destruction, secret, privateKey, crash, audit]

interface DemoFlags {
  keep?: boolean
  pause?: boolean
}

export function registerDemo(program: Command): void {
  const demo = program
    .command('demo')
    .description('play an agent against a server and a worker of its own, and show what holds')
    .option('--keep', 'leave server and worker up afterwards, until Ctrl-C')
    .option('--pause', 'wait for Enter before each step')
    .addHelpText('after', '\nExit 0 only when every step showed what it promises.')
  offline<DemoFlags, []>(demo, demonstrate)
}

async function demonstrate({ terminal }: Context, { keep = false, pause = false }: DemoFlags): Promise<Exit> {
  if (pause && !terminal.interactive) throw usage('--pause needs a terminal to wait at')
  const began = performance.now()
  const interrupted = interruption()
  const story = new Story(terminal)
  terminal.note('Starting a server and a worker of its own …')
  const stage = await openStage({ keepFolder: keep }).catch((error: Error) => {
    interrupted.off()
    throw error instanceof CliError ? error : cannotStart(error)
  })
  try {
    if (interrupted.isAsked()) return EXIT.interrupted
    terminal.line(opening(stage, terminal))
    const end = await Promise.race([playAll(story, stage, pause), interrupted.asked])
    if (end === 'interrupted') {
      story.mute()
      terminal.note('Interrupted.')
      return EXIT.interrupted
    }
    const ms = Math.round(performance.now() - began)
    story.close(ms)
    if (terminal.json) terminal.show(documentOf(story, stage, ms, keep), () => '')
    if (keep) {
      terminal.line(kept(stage, terminal))
      await interrupted.asked
    }
    return story.ok ? EXIT.done : EXIT.no
  } finally {
    await stage.close()
    interrupted.off()
    // A scene that was broken off may be waiting for what will not come any more.
    if (!story.isOver) process.exit(EXIT.interrupted)
  }
}

async function playAll(story: Story, stage: Stage, pause: boolean): Promise<'played'> {
  for (const scene of SCENES) {
    if (pause) await enter()
    await story.play(scene, stage)
  }
  story.end()
  return 'played'
}

/** `asked` resolves at the first SIGINT or SIGTERM; a second ends the process, and the stage clears itself away in passing. */
function interruption(): { asked: Promise<'interrupted'>; isAsked(): boolean; off(): void } {
  let off = () => {}
  let signals = 0
  const asked = new Promise<'interrupted'>((resolve) => {
    const onSignal = () => {
      if (++signals > 1) process.exit(EXIT.interrupted)
      resolve('interrupted')
    }
    process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
    off = () => void process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
  })
  return { asked, isAsked: () => signals > 0, off: () => off() }
}

async function enter(): Promise<void> {
  // Not a terminal to readline: in raw mode Ctrl-C would be a key like any other.
  const line = createInterface({ input: process.stdin, output: process.stderr, terminal: false })
  try {
    await line.question('\n    Enter …')
  } finally {
    line.close()
  }
}

function opening(stage: Stage, { color }: Terminal): string {
  const { url, policy } = stage.plane
  return [
    `${color.bold('Sallyport, a demonstration')}  ${color.dim('Everything here is real, runs on this machine, and is gone afterwards.')}`,
    '',
    fields(
      [
        ['server', url],
        ['policy', `${policy.snapshot}, ${policy.rules} rules: examples/policies/default.yaml and demo.yaml`],
        ['worker', `process ${stage.worker().pid}, sallyport worker`],
        ['warehouse', `${stage.warehouse.url}, a service outside that counts what happens to it`],
        ['folder', stage.folder],
      ],
      color,
    ),
  ].join('\n')
}

function documentOf(story: Story, stage: Stage, ms: number, keep: boolean): unknown {
  const { url, dataDir, keyFiles } = stage.plane
  const left = { url, data_dir: dataDir, key_files: keyFiles, folder: stage.folder, worker_pid: stage.worker().pid }
  return { demo: 'sallyport', ok: story.ok, ms, steps: story.steps, kept: keep ? left : null }
}

function kept(stage: Stage, { color }: Terminal): string {
  const { url, dataDir, keyFiles } = stage.plane
  const keys = Object.entries(keyFiles).map(([role, file]): Pair => [`${role} key`, file])
  return [
    '',
    fields([['API', `${url}/api/v1`], ['docs', `${url}/docs`], ...keys, ['worker log', stage.worker().log]], color),
    '',
    'Another terminal:',
    `    export SALLYPORT_URL=${url} SALLYPORT_DATA_DIR=${dataDir}`,
    '    sallyport jobs list',
    `    cd ${stage.folder}`,
    `    sallyport audit verify --head ${HEADS} --key ${PUBLIC_KEY}`,
    `    sallyport audit verify --head ${HEADS} --key ${PUBLIC_KEY} --export ${EDITED}`,
    '    sallyport drill worker-crash',
    color.dim(`Ctrl-C ends server and worker; ${stage.folder} stays.`),
  ].join('\n')
}
