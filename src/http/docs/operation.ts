import type { Answer, Document, Media, Operation, Parameter } from '../openapi.js'
import { boundsHtml, schemaHtml, typeHtml } from './schema.js'
import { code, escapeHtml, prose } from './text.js'

/** One operation: what it needs, takes and answers, with a command to try. */
export function operationHtml(document: Document, path: string, method: string, operation: Operation): string {
  const parameters = operation.parameters.filter((each): each is Parameter => !('$ref' in each))
  const body = operation.requestBody
  const [status = '', success] = Object.entries(operation.responses)[0] ?? []
  return `<article id="${operation.operationId}">
<h3>${prose(operation.summary, '')}</h3>
<p class="route"><b class="${method.toLowerCase()}">${method}</b> <code>${escapeHtml(path).replaceAll('/', '/<wbr>')}</code></p>
${operation.description === undefined ? '' : prose(operation.description)}
<p class="quiet">${permissionHtml(operation)} · <code>${escapeHtml(operation.operationId)}</code></p>
${parameters.length === 0 ? '' : parametersHtml(parameters)}
${body === undefined ? '' : `<h4>Body${body.required ? '' : ' <i>optional</i>'}</h4>${bodyHtml(document, body.content['application/json'])}`}
<h4>Try it</h4><pre>${escapeHtml(curl(path, method, operation, parameters))}</pre>
<h4>Answers</h4>
${successHtml(status, success)}
${refusalsHtml(operation)}
</article>`.replaceAll(/\n{2,}/g, '\n')
}

function permissionHtml(operation: Operation): string {
  const needed = operation['x-permission']
  if (needed === null) return 'Open to anyone, without a key'
  return `Needs ${needed.map((each) => `<code>${escapeHtml(each)}</code>`).join(' or ')}: ${escapeHtml(operation['x-roles'].join(', '))}`
}

function parametersHtml(parameters: readonly Parameter[]): string {
  const rows = parameters.map(
    (each) =>
      `<tr><td><code>${escapeHtml(each.name)}</code>${each.required ? '' : ' <i>optional</i>'}</td><td>${each.in}, ${typeHtml(each.schema)}</td><td>${prose(each.description ?? '', '')}${boundsHtml(each.schema)}</td></tr>`,
  )
  return `<h4>Parameters</h4><div class="wide"><table class="fields"><tbody>${rows.join('')}</tbody></table></div>`
}

/** A body is shown in full where it is sent; an answer only by name, since most are met in several places. */
function bodyHtml(document: Document, media: Media | undefined): string {
  if (media === undefined) return ''
  const named =
    typeof media.schema.$ref === 'string'
      ? document.components.schemas[media.schema.$ref.split('/').at(-1) ?? '']
      : undefined
  const example =
    media.example === undefined ? '' : `<details><summary>Example</summary>${code(media.example)}</details>`
  return `${named === undefined ? '' : `<p>${typeHtml(media.schema)}</p>`}${schemaHtml(named ?? media.schema)}${example}`
}

function successHtml(status: string, answer: Answer | undefined): string {
  const [type = '', media] = Object.entries(answer?.content ?? {})[0] ?? []
  const headers = Object.keys(answer?.headers ?? {}).map((name) => ` <code>${escapeHtml(name)}</code>`)
  const schema =
    media === undefined || Object.keys(media.schema).length === 0 || media.schema.type === 'string'
      ? ''
      : ` ${typeHtml(media.schema)}`
  const plain = type === 'application/json' ? '' : ` <code>${escapeHtml(type)}</code>`
  const example =
    media?.example === undefined ? '' : `<details><summary>Example</summary>${code(media.example)}</details>`
  return `<p><span class="status">${status}</span> ${prose(answer?.description ?? '', '')}${schema}${plain}${headers.join('')}</p>${example}`
}

function refusalsHtml(operation: Operation): string {
  const rows = Object.entries(operation.responses)
    .slice(1)
    .map(([status, { description, content = {} }]) => {
      const codes = Object.keys(content['application/problem+json']?.examples ?? {})
      const named = codes.map((each) => `<a href="#error-${each}"><code>${each}</code></a>`).join(' ')
      return `<tr><td><span class="status">${status}</span></td><td>${named || prose(description, '')}</td></tr>`
    })
  return rows.length === 0 ? '' : `<table class="refusals"><tbody>${rows.join('')}</tbody></table>`
}

/** Copies into a shell where API and KEY are set. */
function curl(path: string, method: string, operation: Operation, parameters: readonly Parameter[]): string {
  const where = path.replaceAll(/\{(\w+)\}/g, (_, name: string) =>
    String(parameters.find((each) => each.name === name)?.example ?? name),
  )
  const query = parameters.filter((each) => each.in === 'query' && each.required).map((each) => `${each.name}=0`)
  const lines = [
    `curl ${method === 'GET' ? '' : `-X ${method} `}"$API${where}${query.length === 0 ? '' : `?${query.join('&')}`}"`,
  ]
  if (operation['x-permission'] !== null) lines.push('-H "X-API-Key: $KEY"')
  const body = operation.requestBody?.content['application/json']
  if (body !== undefined) {
    lines.push('-H "Content-Type: application/json"')
    lines.push(`-d '${JSON.stringify(body.example).replaceAll("'", "'\\''")}'`)
  }
  return lines.join(' \\\n  ')
}
