import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'

/** Where the clouds keep the credentials of a machine: what a hostile redirect aims at. */
export const METADATA = 'http://169.254.169.254/latest/meta-data/'

/**
 * A warehouse, the outside system of the demonstration. It counts every parcel it is asked to send and trusts nobody: it does
 * not look at Idempotency-Key, so an effect that ran twice would be two parcels.
 */
export interface Warehouse {
  url: string
  /** host:port. */
  address: string
  /** `GET /stock` … in the order they came. */
  requests: string[]
  /** How often each order left the house. */
  parcels: Map<string, number>
  /** The parcel of this order leaves, but its answer never comes. Resolves when it has left. */
  holdAnswer(order: string): Promise<void>
  close(): Promise<void>
}

export async function openWarehouse(): Promise<Warehouse> {
  const requests: string[] = []
  const parcels = new Map<string, number>()
  const held = new Map<string, () => void>()
  const server = createServer((request, response) => {
    answer(request, response, { requests, parcels, held }).catch(() => response.destroy())
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve)
  })
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url: `http://${address}`,
    address,
    requests,
    parcels,
    holdAnswer: (order) => new Promise((left) => held.set(order, left)),
    close: () => closed(server),
  }
}

interface Books {
  requests: string[]
  parcels: Map<string, number>
  held: Map<string, () => void>
}

async function answer(request: IncomingMessage, response: ServerResponse, books: Books): Promise<void> {
  const asked = `${request.method} ${request.url}`
  books.requests.push(asked)
  if (asked === 'GET /stock') return json(response, 200, { lamps: 12, desks: 3 })
  if (asked === 'GET /stock-old') {
    response.writeHead(302, { location: METADATA }).end()
    return
  }
  if (asked !== 'POST /parcels') return json(response, 404, { error: 'not found' })
  const { order } = JSON.parse(await text(request)) as { order: string }
  books.parcels.set(order, (books.parcels.get(order) ?? 0) + 1)
  const left = books.held.get(order)
  if (left !== undefined) return left()
  json(response, 201, { order, parcel: parcelOf(order) })
}

export const parcelOf = (order: string): string => `parcel-for-${order}`

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}
