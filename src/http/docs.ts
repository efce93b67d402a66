import { ERRORS } from '../errors.js'
import { operationHtml } from './docs/operation.js'
import { schemaHtml } from './docs/schema.js'
import { statesHtml } from './docs/states.js'
import { STYLE } from './docs/style.js'
import { code, escapeHtml, prose } from './docs/text.js'
import { type Document, type Operation, openapi } from './openapi.js'
import type { Route } from './route.js'

const rendered = new WeakMap<Document, string>()

/** One page without a script or anything loaded, rendered from the same document that /openapi.json answers; rendered once. */
export function docsPage(routes: readonly Route[], version: string): string {
  const document = openapi(routes, version)
  const known = rendered.get(document)
  if (known !== undefined) return known
  const page = render(document, version)
  rendered.set(document, page)
  return page
}

interface Placed {
  path: string
  method: string
  operation: Operation
}

function render(document: Document, version: string): string {
  const placed = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]): Placed => ({ path, method: method.toUpperCase(), operation })),
  )
  const groups = document.tags.map((tag) => ({
    ...tag,
    placed: placed.filter(({ operation }) => operation.tags.includes(tag.name)),
  }))
  const schemas = Object.entries(document.components.schemas)
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Sallyport API ${escapeHtml(version)}</title>
<style>${STYLE}</style>
</head>
<body>
<nav aria-label="Contents">
<p class="brand"><a href="#top">Sallyport</a> <span>${escapeHtml(version)}</span></p>
<input type="checkbox" id="contents"><label for="contents">Contents</label>
<ul>
<li><a href="#keys">Keys and tenants</a></li>
<li><a href="#states">States of a job</a></li>
${groups.map(({ name, placed }) => `<li><a href="#${tagId(name)}">${escapeHtml(name)}</a><ul>${placed.map(link).join('')}</ul></li>`).join('\n')}
<li><a href="#schemas">Schemas</a></li>
<li><a href="#errors">Errors</a></li>
</ul>
</nav>
<main id="top">
<h1>Sallyport API</h1>
${prose(String(document.info.description))}
<p>The same as a document for tools: <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1).</p>
${keysHtml(document)}
<section id="states"><h2>States of a job</h2>${statesHtml()}</section>
${groups.map((group) => groupHtml(document, group)).join('\n')}
<section id="schemas"><h2>Schemas</h2>
${schemas.map(([name, schema]) => `<section class="schema" id="schema-${escapeHtml(name)}"><h3>${escapeHtml(name)}</h3>${schemaHtml(schema)}</section>`).join('\n')}
</section>
${errorsHtml(document)}
</main>
</body>
</html>
`
}

const tagId = (name: string) => `tag-${name.replaceAll(' ', '-')}`

const link = ({ method, operation }: Placed) =>
  `<li><a href="#${operation.operationId}"><b class="${method.toLowerCase()}">${method}</b> ${escapeHtml(operation.operationId)}</a></li>`

function groupHtml(document: Document, group: { name: string; description: string; placed: Placed[] }): string {
  const operations = group.placed.map(({ path, method, operation }) => operationHtml(document, path, method, operation))
  return `<section id="${tagId(group.name)}"><h2>${escapeHtml(group.name)}</h2><p>${escapeHtml(group.description)}</p>\n${operations.join('\n')}</section>`
}

function keysHtml(document: Document): string {
  const schemes = document.components.securitySchemes
  return `<section id="keys"><h2>Keys and tenants</h2>
<p>Send a key in one of two ways. <code>X-API-Key</code>: ${prose(String(schemes.apiKey?.description), '')}. <code>Authorization: Bearer</code>: ${prose(String(schemes.bearer?.description), '')}.</p>
<pre>curl -H "X-API-Key: $KEY" "$API/api/v1/jobs"</pre>
<p><code>X-Tenant-ID</code>: ${escapeHtml(document.components.parameters.TenantId?.description ?? '')}</p></section>`
}

function errorsHtml(document: Document): string {
  const items = Object.entries(ERRORS).map(([name, { status, retryable, title, help }]) => {
    const example = document.components.examples[name]?.value
    return `<section class="error" id="error-${name}"><h3><code>${name}</code> <span class="status">${status}</span></h3>
<p>${escapeHtml(title)}. ${prose(help, '')}${retryable ? ' <em>May succeed later, unchanged.</em>' : ''}</p>
<details><summary>Example</summary>${code(example)}</details></section>`
  })
  return `<section id="errors"><h2>Errors</h2><p>Every refusal and fault is <code>application/problem+json</code>, a <a href="#schema-Problem">Problem</a>. A code never changes its meaning and its status.</p>
${items.join('\n')}</section>`
}
