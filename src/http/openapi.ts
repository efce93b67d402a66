import type { Route } from './route.js'
export function openapi(routes: readonly Route[], version: string): unknown {
  return { openapi: '3.1.0', info: { title: 'Sallyport', version }, paths: Object.fromEntries(routes.map((r) => [r.path, {}])) }
}
