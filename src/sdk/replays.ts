import type { AskReplay, Replay, ReplayPage } from '../contract/replays.js'
import type { PageQuery } from '../contract/scalars.js'
import { eachLine } from './pages.js'
import { segment, type Transport } from './transport.js'

/** Scenarios and recorded submits put to the door of a stored snapshot; nothing is done. */
export interface Replays {
  /** Begins within a second; ask `get` until its status is not `running`. */
  ask(replay: AskReplay): Promise<Replay>
  list(query?: PageQuery): Promise<ReplayPage>
  get(replayId: string): Promise<Replay>
  /** The lines of its log, one for each denial; 404 while it runs. `log.sha256` is over the lines, each with its line end. */
  log(replayId: string, options?: { signal?: AbortSignal }): AsyncIterable<string>
}

export function replaysOf(http: Transport): Replays {
  const at = (id: string, rest = '') => `/api/v1/replays/${segment(id)}${rest}`
  return {
    ask: (replay) => http.request('POST', '/api/v1/replays', { body: replay }),
    list: (query) => http.request('GET', '/api/v1/replays', { query }),
    get: (id) => http.request('GET', at(id)),
    async *log(id, { signal } = {}) {
      const answer = await http.open('GET', at(id, '/log'), { signal })
      if (answer.body !== null) yield* eachLine(answer.body, signal)
    },
  }
}
