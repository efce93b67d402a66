import type { Route } from './route.js'
export function docsPage(routes: readonly Route[], version: string): string {
  return `<!doctype html><title>Sallyport ${version}</title><pre>${routes.map((r) => `${r.method} ${r.path}`).join('\n')}</pre>`
}
