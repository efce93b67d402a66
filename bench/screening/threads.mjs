// What a large result costs the event loop: screened here, and handed to a thread; against the built package.
//   node bench/screening/threads.mjs [--rounds N]
// Least of all rounds, because other work on the machine only ever adds: `here` is the whole screening on this thread; `hand
// over` is what is left of it where a thread screens: the copy of the value going out and of the texts coming back.
// `answer` is the median time until a thread's verdict.
import { deserialize, serialize } from 'node:v8'
import { DETECTORS, defaultOutputPolicy } from '../../dist/core/output.js'
import { systemClock } from '../../dist/platform/clock.js'
import { openThreads } from '../../dist/platform/threads.js'
import { isLarge, screening } from '../../dist/store/screener.js'
import { ordinary } from './texts.mjs'

const at = process.argv.indexOf('--rounds')
const rounds = at < 0 ? 15 : Number(process.argv[at + 1])
const file = new URL('../../dist/store/screener-thread.js', import.meta.url)
const threads = openThreads(file, { threads: 1, waiting: 8, timeoutMs: 60_000, memoryMb: 512 }, systemClock)
const salt = '0'.repeat(32)
const actions = DETECTORS.map((d) => defaultOutputPolicy.action(d.name, d.class))

const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1]
const timed = (work) => {
  const begin = performance.now()
  work()
  return performance.now() - begin
}

/** A result of about `size` bytes of JSON, as a parser makes it. */
function resultOf(kind, size) {
  const { values } = ordinary(size).find((subject) => subject.name === kind)
  const raw = JSON.parse(JSON.stringify(kind === 'prose' ? values.join('') : values.flat()))
  return raw.slice(0, Math.floor((raw.length * size) / JSON.stringify(raw).length))
}

await threads.run({ raw: 'warm', actions, salt })
const line = (...cells) =>
  console.log(cells.map((cell, i) => String(cell)[i === 0 ? 'padEnd' : 'padStart'](12)).join(''))
line('ms', 'KiB', 'large?', 'here', 'hand over', 'look', 'answer')
for (const kind of ['JSON records', 'prose']) {
  for (const kib of [4, 8, 16, 32, 64, 128, 256, 512, 1024, 2000]) {
    const raw = resultOf(kind, kib * 1024)
    const [here, over, look, answers] = [[], [], [], []]
    for (let round = 0; round < rounds + 3; round++) {
      const answer = screening(raw, defaultOutputPolicy, salt)
      const back = serialize(answer)
      here.push(timed(() => screening(raw, defaultOutputPolicy, salt)))
      over.push(timed(() => serialize({ raw, actions, salt })) + timed(() => deserialize(back)))
      look.push(timed(() => isLarge(raw)))
      const begin = performance.now()
      await threads.run({ raw, actions, salt })
      answers.push(performance.now() - begin)
    }
    const least = (list) => Math.min(...list.slice(3)).toFixed(3)
    line(kind, kib, isLarge(raw), least(here), least(over), least(look), median(answers.slice(3)).toFixed(2))
  }
}
await threads.close()
