import { html } from '../../core/text.js'

/** Pages of ours run nothing, load nothing, stand in no frame, and say nowhere where they came from. */
const HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy':
    "default-src 'none'; form-action 'self'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
  'x-robots-tag': 'noindex, nofollow',
}

const STYLE = `
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #5b6570; --line: #d5dae0; --ground: #f6f7f9; --card: #fff; --yes: #1a7f37; --no: #b42318 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ed; --dim: #98a2ad; --line: #343b44; --ground: #14171b; --card: #1c2026; --yes: #3fb950; --no: #f97066 }
}
* { box-sizing: border-box }
body { margin: 0; padding: 2rem 1rem; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 46rem; margin: 0 auto; padding: 1.5rem; background: var(--card); border: 1px solid var(--line); border-radius: 10px }
h1 { margin: 0 0 .25rem; font-size: 1.35rem }
h2 { margin: 1.5rem 0 .5rem; font-size: 1rem }
p { margin: .5rem 0 } .dim { color: var(--dim); font-size: .9rem }
dl { display: grid; grid-template-columns: minmax(7rem, auto) 1fr; gap: .35rem 1rem; margin: 1rem 0 }
dt { color: var(--dim) } dd { margin: 0; overflow-wrap: anywhere }
pre, code { font: 13px/1.45 ui-monospace, monospace }
pre { max-height: 24rem; overflow: auto; padding: .75rem; border: 1px solid var(--line); border-radius: 6px; background: var(--ground); white-space: pre-wrap; overflow-wrap: anywhere }
code { overflow-wrap: anywhere }
fieldset { margin: 1rem 0 0; padding: 1rem; border: 1px solid var(--line); border-radius: 6px } legend { padding: 0 .4rem; font-weight: 600 }
label { display: block; margin: .4rem 0 } textarea { width: 100%; min-height: 3.5rem; padding: .5rem; font: inherit; color: inherit; background: var(--ground); border: 1px solid var(--line); border-radius: 6px }
button { margin-top: .6rem; padding: .55rem 1.2rem; border: 0; border-radius: 6px; color: #fff; font: inherit; font-weight: 600; cursor: pointer }
button:focus-visible, textarea:focus-visible, input:focus-visible { outline: 3px solid #4c8dff; outline-offset: 2px }
main:has(> .narrow) { max-width: 28rem } .narrow button, .go { width: 100%; text-align: center }
input[type=text], input[type=password] { display: block; width: 100%; margin-top: .2rem; padding: .55rem; font: inherit; color: inherit; background: var(--ground); border: 1px solid var(--line); border-radius: 6px }
.go { display: block; margin-top: .6rem; padding: .55rem 1.2rem; border-radius: 6px; color: #fff; font-weight: 600; text-decoration: none } .go:focus-visible { outline: 3px solid #4c8dff; outline-offset: 2px }
.main { background: #1f5fbf } .fault { padding: .6rem .8rem; border: 1px solid var(--no); border-radius: 6px; color: var(--no) }
.yes { background: #1a7f37 } .no { background: #b42318 } .was-yes { color: var(--yes) } .was-no { color: var(--no) }
`

export interface Page {
  status: number
  headers: Record<string, string>
  body: string
}

/** A whole page around some HTML of ours. `title` is text; `style` goes behind the style that all pages share. */
export function htmlPage(status: number, title: string, main: string, style = ''): Page {
  const body = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${html(title)} · Sallyport</title>
<style>${STYLE}${style}</style>
</head>
<body>
<main>
<h1>${html(title)}</h1>
${main}
</main>
</body>
</html>
`
  return { status, headers: { ...HEADERS }, body }
}

/** What is known by name, as a list. Values are HTML. */
export function factList(rows: readonly (readonly [string, string])[]): string {
  return `<dl>${rows.map(([name, value]) => `<dt>${html(name)}</dt><dd>${value}</dd>`).join('\n')}</dl>`
}
