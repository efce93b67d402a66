import type { Route } from '../route.js'

export interface Health {
  /** Null when ready, else why not. */
  unready(): Promise<string | null>
}

/** At the root, without keys: load balancers and people look here. */
export function systemRoutes(health: Health, documents: { openapi(): string; docs(): string }): Route[] {
  const open = { method: 'GET', root: true, permission: null, tag: 'system', errors: [] } as const
  return [
    {
      ...open,
      path: '/healthz',
      summary: 'The process lives',
      success: { status: 200, description: 'ok', contentType: 'text/plain' },
      handler: async () => ({ body: 'ok\n', headers: { 'content-type': 'text/plain' } }),
    },
    {
      ...open,
      path: '/readyz',
      summary: 'Ready for work: store answers, clock is right, policy is active, not draining, not overloaded',
      success: { status: 200, description: 'ready, or 503 with why not', contentType: 'text/plain' },
      async handler() {
        const why = await health.unready()
        return {
          status: why === null ? 200 : 503,
          body: `${why ?? 'ready'}\n`,
          headers: { 'content-type': 'text/plain' },
        }
      },
    },
    {
      ...open,
      path: '/openapi.json',
      summary: 'This API as OpenAPI 3.1',
      success: { status: 200, description: 'The document', contentType: 'application/json' },
      handler: async () => ({ body: documents.openapi(), headers: { 'content-type': 'application/json' } }),
    },
    {
      ...open,
      path: '/docs',
      summary: 'This API, readable',
      success: { status: 200, description: 'A page', contentType: 'text/html' },
      handler: async () => ({
        body: documents.docs(),
        headers: {
          'content-type': 'text/html; charset=utf-8',
          'content-security-policy':
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
        },
      }),
    },
  ]
}
