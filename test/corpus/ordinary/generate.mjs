// Writes the ordinary corpus: text in which nothing is to be found, made to look as much like secrets and personal data as
// ordinary text does. Fixed seed: `node test/corpus/ordinary/generate.mjs` gives the same bytes on every machine.
// The files are named .txt so that no tool takes them for source.
import { writeFileSync } from 'node:fs'

let state = 20_250_611
function random() {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
  return state / 2 ** 32
}
const int = (from, to) => from + Math.floor(random() * (to - from + 1))
const pick = (list) => list[int(0, list.length - 1)]
const from = (alphabet, count) => Array.from({ length: count }, () => pick(alphabet)).join('')
const hex = (count) => from('0123456789abcdef', count)
const digits = (count) => pick('123456789') + from('0123456789', count - 1)
const base64 = (count) => from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', count)
const uuid = () => `${hex(8)}-${hex(4)}-4${hex(3)}-${pick('89ab')}${hex(3)}-${hex(12)}`
const pad = (n, width = 2) => String(n).padStart(width, '0')
const date = () => `${int(2019, 2026)}-${pad(int(1, 12))}-${pad(int(1, 28))}`
const time = () => `${pad(int(0, 23))}:${pad(int(0, 59))}:${pad(int(0, 59))}`
const instant = () => `${date()}T${time()}.${pad(int(0, 999), 3)}Z`
const ip = () => `${int(10, 223)}.${int(0, 255)}.${int(0, 255)}.${int(1, 254)}`
const NOUNS = 'account batch cache cluster config counter cursor device event filter gateway header index job key label lease limit message metric module network node order owner packet page parser password payload policy port process queue record region replica report request result retry role route rule schema secret segment server service session shard signal snapshot socket source state status stream table task team tenant token topic trace user value vector worker'.split(' ')
const VERBS = 'apply build check claim close collect compare create decide delete drain emit encode fetch filter flush format handle insert join load lock merge move open parse persist publish queue read release render replay resolve retry rotate route run save scan send settle sort split start stop store submit sync trim update validate verify wait watch write'.split(' ')
const noun = () => pick(NOUNS)
const verb = () => pick(VERBS)
const Noun = () => noun().replace(/^./, (c) => c.toUpperCase())
const camel = () => `${verb()}${Noun()}${random() < 0.4 ? Noun() : ''}`
const snake = () => `${verb()}_${noun()}${random() < 0.4 ? `_${noun()}` : ''}`
const kebab = () => `${verb()}-${noun()}-${noun()}`
const sentence = () => `${Noun()}s ${verb()} the ${noun()} of every ${noun()} before a ${noun()} can ${verb()} its ${noun()}.`

const typescript = () => [
  `import { ${camel()}, type ${Noun()}${Noun()} } from './${kebab()}.js'`,
  `export async function ${camel()}(${noun()}: string, password: string, options: ${Noun()}Options = {}): Promise<${Noun()}Token | null> {`,
  `  const token = await this.${camel()}(options.${noun()}Key ?? process.env.${snake().toUpperCase()}_SECRET)`,
  `  const apiKey = process.env['${snake().toUpperCase()}_API_KEY'] ?? config.get('${kebab()}')`,
  `  if (token === undefined || token.kind !== SyntaxKind.${Noun()}${Noun()}Token) throw new ${Noun()}Error(\`no ${noun()} for \${${noun()}}\`)`,
  `  return { ${noun()}: ${noun()}.${camel()}(), secret: ${camel()}(token), access_token: result.${camel()}, index: ${int(0, 99_999)} }`,
  '}',
  `@Injectable({ scope: '${kebab()}' }) // see docs/${kebab()}.md#L${int(1, 400)}`,
  `const ${camel()} = new Map<string, { password: string; token?: AccessToken }>([['${kebab()}', ${camel()}]])`,
  `type ${Noun()} = { secret_name: '${kebab()}'; auth: AuthenticationProvider; pass: boolean; next_page_token: '${digits(6)}' }`,
]
const python = () => [
  `def ${snake()}(self, ${noun()}: str, password: Optional[str] = None, timeout=${int(1, 90)}) -> ${Noun()}Token:`,
  `    """${sentence()} Pass \`\`token=None\`\` to ${verb()} a new ${noun()}."""`,
  `    token = os.environ.get("${snake().toUpperCase()}_TOKEN") or self._${snake()}(${noun()})`,
  `    password = getpass.getpass("Password: ")`,
  `    secret_key = settings.SECRET_KEY  # ${noun()} ${int(100, 999)}`,
  `    return hashlib.sha256(f"{${noun()}}:{password}".encode()).hexdigest()[:${int(8, 40)}]`,
]
const other = () => [
  `func (${noun()[0]} *${Noun()}) ${Noun()}${Noun()}(ctx context.Context, token string) (*${Noun()}, error) {`,
  `	password := os.Getenv("${snake().toUpperCase()}_PASSWORD"); secret := cfg.${Noun()}.${Noun()}Secret`,
  `	log.Printf("${noun()}=%s token=%q took=%dms", ${noun()}.ID, redact(token), ${int(1, 900)})`,
  `EXEC sp_executesql N'SELECT ${noun()}_id, ${noun()}_token FROM dbo.${noun()}s WHERE ${noun()} = @p${int(1, 9)}', N'@p1 int', @p1 = ${int(1, 9999)};`,
  `EXEC sp_addextendedproperty @name = N'MS_Description', @value = N'${sentence()}';`,
  `.sk-${noun()}-${noun()}-${int(1, 12)} { margin: -${int(1, 9)}px; background: url(logo@2x.png); content: "\\201C"; }`,
  `export ${snake().toUpperCase()}_PASSWORD="\${${snake().toUpperCase()}_PASSWORD:?set the ${noun()}}"; curl -H "Authorization: Bearer $TOKEN" https://${noun()}.internal/${snake()}`,
  `  password: \${{ secrets.${snake().toUpperCase()} }}   # ${sentence()}`,
  `  api_key: <your-${noun()}-key>  token: changeme  secret: ******** password: [FILTERED]`,
  `  - { name: ${snake().toUpperCase()}_TOKEN, valueFrom: { secretKeyRef: { name: ${kebab()}-secret, key: ${noun()}-token } } }`,
  `private static final String ${snake().toUpperCase()}_PASSWORD_KEY = "${noun()}.${noun()}.password"; // ${Noun()}::${camel()}`,
  `@types/${noun()}@${int(1, 20)}.${int(0, 30)}.${int(0, 9)} ${noun()}@npm:${noun()}-${noun()}@^${int(1, 9)}.0.0 getty@tty${int(1, 6)}.service git@git.internal:team/${kebab()}.git`,
]
const logs = () => [
  `${instant()} INFO  [${kebab()}-${hex(9)}-${from('bcdfghjklmnpqrstvwxz2456789', 5)}] trace_id=${hex(32)} span_id=${hex(16)} ${noun()}_id=${uuid()} duration_ms=${int(1, 90_000)}`,
  `${ip()} - - [${pad(int(1, 28))}/Jun/2025:${time()} +0000] "GET /api/v${int(1, 3)}/${noun()}s/${digits(int(6, 12))}?page_token=${int(1, 900)}&limit=${int(10, 200)} HTTP/1.1" ${pick([200, 201, 304, 404, 500])} ${int(100, 99_999)} "-" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"`,
  `${date()} ${time()},${pad(int(0, 999), 3)} WARN ${noun()}.${noun()}.${Noun()}Service - ${sentence()} offset=${digits(int(8, 15))} partition=${int(0, 63)} epoch=${int(1_600_000_000, 1_790_000_000)}`,
  `[${int(1_600_000_000, 1_790_000_000)}.${digits(6)}] ${noun()}: pid ${int(100, 99_999)} at 0x${hex(16)} rip:${hex(12)} sp:${hex(12)} error:${int(0, 9)} in lib${noun()}.so.${int(1, 9)}[${hex(12)}+${hex(5)}]`,
  `ts=${int(1_600_000_000_000, 1_790_000_000_000)} us=${int(1_600_000_000, 1_790_000_000)}${pad(int(0, 999_999), 6)} ns=${int(1_600_000_000, 1_790_000_000)}${pad(int(0, 999_999_999), 9)} msg="password check failed for user ${int(1, 9999)}: token expired" level=error`,
  `goroutine ${int(1, 9999)} [select, ${int(1, 90)} minutes]: main.(*${Noun()}).${Noun()}(0xc000${hex(6)}, {0x${hex(6)}, 0x${int(1, 40)}}) /src/${noun()}/${noun()}.go:${int(1, 900)} +0x${hex(3)}`,
]
const identifiers = () => [
  uuid(),
  uuid().toUpperCase(),
  hex(40),
  hex(64),
  hex(128),
  hex(24),
  hex(32).toUpperCase(),
  `sha256:${hex(64)}`,
  `sha512-${base64(86)}==`,
  `0${from('0123456789ABCDEFGHJKMNPQRSTVWXYZ', 25)}`,
  `${noun()}_${from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789', 14)}`,
  `${int(1, 2)}${from('0123456789', 17)}`,
  `arn:aws:${noun()}:eu-west-${int(1, 3)}:${digits(12)}:${noun()}/${kebab()}`,
  `${noun()}-${from('bcdfghjklmnpqrstvwxz2456789', 10)}-${from('bcdfghjklmnpqrstvwxz2456789', 5)}`,
  `"etag": "W/\\"${hex(int(2, 6))}-${base64(27)}\\""`,
  `${hex(2)}:${hex(2)}:${hex(2)}:${hex(2)}:${hex(2)}:${hex(2)} fe80::${hex(4)}:${hex(4)}:${hex(4)}:${hex(4)}`,
]
/** The second digit of an order number keeps it out of the ranges of cards, as a shop's own numbering does. */
const numbers = () => [
  `Order ${pick(['#', 'no. ', ''])}${digits(int(5, 12))} of ${date()}, invoice INV-${int(2019, 2026)}-${pad(int(1, 99_999), 6)}, parcel 1Z${from('0123456789ABCDEFGHJKLMNPQRSTUVWXYZ', 16)}`,
  `PO-${digits(3)}-${digits(5)}-${digits(3)}  RMA ${digits(4)}-${digits(3)}-${digits(4)}  SKU ${from('ABCDEFGHJKLMNPQRSTUVWXYZ', 3)}-${digits(4)}-${digits(2)}  EAN ${int(400, 440)}${from('0123456789', 10)}`,
  `lat=${int(-89, 89)}.${digits(6)} lon=${int(-179, 179)}.${digits(15)} score=0.${from('0123456789', 16)} delta=-${int(1, 9)}.${digits(14)}e-0${int(1, 9)}`,
  `${int(100, 999)} ${int(100, 999)} ${int(1000, 9999)}   ${int(10, 99)} ${int(10, 99)} ${int(10, 99)} ${int(10, 99)} ${int(10, 99)} ${int(10, 99)}   v${int(1, 20)}.${int(0, 99)}.${int(0, 99)}-rc.${int(1, 9)}`,
  `${pad(int(0, 0xfffffff).toString(16), 8)}  ${hex(2)} ${hex(2)} ${hex(2)} ${hex(2)} ${hex(2)} ${hex(2)} ${hex(2)} ${hex(2)}  01 02 03 04 05 06 07 08  |................|`,
  `total ${int(1, 999)},${pad(int(0, 999), 3)},${pad(int(0, 999), 3)}.${pad(int(0, 99))} EUR  range ${int(1, 999)}-${int(1000, 9999)}  pp. ${int(100, 999)}-${int(1000, 1999)}  2025-06-1${int(0, 9)} 10:${pad(int(0, 59))}-11:${pad(int(0, 59))}  +0${int(1, 9)}00`,
]
const git = () => [
  `${hex(7)} ${verb()} the ${noun()} ${noun()} (#${int(1, 9999)})`,
  `commit ${hex(40)}`,
  `index ${hex(10)}..${hex(10)} 100644`,
  `--- a/src/${noun()}/${kebab()}.ts`,
  `+++ b/src/${noun()}/${kebab()}.ts`,
  `@@ -${int(1, 900)},${int(1, 40)} +${int(1, 900)},${int(1, 40)} @@ export function ${camel()}(`,
  ` src/${noun()}/${kebab()}.ts | ${int(1, 400)} ${'+'.repeat(int(1, 40))}${'-'.repeat(int(1, 20))}`,
  `Author: ${noun()}-bot <noreply@${noun()}.internal>   Date: Tue Jun ${int(1, 28)} ${time()} 2025 +0200`,
  `   ${hex(7)}..${hex(7)}  main -> main   git@git.internal:platform/${kebab()}.git`,
]
const lockfile = () => [
  `    "node_modules/${kebab()}": {`,
  `      "version": "${int(0, 30)}.${int(0, 30)}.${int(0, 30)}",`,
  `      "resolved": "https://packages.internal/${kebab()}/-/${kebab()}-${int(0, 30)}.${int(0, 30)}.0.tgz",`,
  `      "integrity": "sha512-${base64(86)}==",`,
  `      "engines": { "node": ">=${int(12, 22)}" }, "license": "MIT"`,
  '    },',
  `${kebab()}==${int(0, 9)}.${int(0, 9)} --hash=sha256:${hex(64)}`,
  `github.com/${noun()}/${noun()} v${int(0, 9)}.${int(0, 30)}.0 h1:${base64(43)}=`,
]
const markdown = () => [
  `## ${sentence()}`,
  '',
  `${sentence()} Use a **bearer token** or basic authentication; the password must have 12 characters. ${sentence()}`,
  `- \`${snake()}\`: ${sentence()} See [the ${noun()} guide](https://docs.internal/${kebab()}/${kebab()}#${noun()}-${int(1, 40)}).`,
  `| ${noun()} | ${noun()} | ${noun()} |\n|---------|:-------:|--------:|\n| ${int(1, 999)} | ${snake()} | ${int(1, 99)}.${int(0, 9)} % |`,
  'A file that begins with `-----BEGIN RSA PRIVATE KEY-----` is refused, and so is a token that begins with `ghp_` or `sk-`.',
  'Set `DATABASE_URL=postgres://app:${DB_PASSWORD}@db:5432/app` and `API_KEY=<your key>`; `Authorization: Bearer <token>` is sent.',
  `Grüße, größere Änderungen; цена 1 234 567 ₽; 価格は ${int(1000, 99_999)} 円です。 “${sentence()}” – ${Noun()}…`,
]
const csv = () => [
  `${digits(8)},${date()},${uuid()},${noun()},${int(1, 99)},${int(1, 999)}.${pad(int(0, 99))},EUR,${pick(['paid', 'open', 'void'])},${pick(['DE', 'FR', 'GB', 'US'])}${int(10, 99)},${kebab()}`,
  `"${sentence()}",${int(1, 9)};${int(1, 9)};${int(1, 9)},${ip()},${instant()},${hex(12)},${digits(10)},${digits(16).replace(/^./, '1')}`,
]
const images = () => [
  `![${noun()}](data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAA${base64(int(400, 1600))})`,
  `"thumbnail": "/9j/4AAQSkZJRgABAQAAAQABAAD${base64(int(400, 1600))}=="`,
]

const files = { typescript, python, other, logs, identifiers, numbers, git, lockfile, markdown, csv, images }
const SIZE = 40_000
for (const [name, lines] of Object.entries(files)) {
  let text = ''
  while (text.length < SIZE) text += `${lines().join('\n')}\n`
  writeFileSync(new URL(`./${name}.txt`, import.meta.url), text)
}

// The same stuff as results look: JSON values, screened key by key.
const results = Array.from({ length: 120 }, () => ({
  id: uuid(),
  [camel()]: sentence(),
  created_at: instant(),
  updated: int(1_600_000_000_000, 1_790_000_000_000),
  commit: { sha: hex(40), message: `${verb()} the ${noun()}`, parents: [hex(40), hex(40)] },
  order_number: digits(10),
  reference: digits(16).replace(/^./, '1'),
  token_type: 'bearer',
  token_count: int(1, 9000),
  next_page_token: digits(20),
  password_reset_required: false,
  password: pick([null, '', '********', 'string', `\${${snake().toUpperCase()}}`]),
  labels: { form: { password: 'Password', passwort: 'Dein Passwort', secret: 'Secret' } },
  tags: [noun(), kebab(), snake(), noun(), hex(8), digits(8), digits(8)],
  ids: [digits(8), digits(8), uuid(), uuid(), hex(24)],
  env: [
    { name: 'LOG_LEVEL', value: 'debug' },
    { name: `${snake().toUpperCase()}_TOKEN`, value: `$(${snake().toUpperCase()})` },
  ],
  position: { lat: random() * 90, lon: random() * 180 },
  log: logs().join('\n'),
}))
writeFileSync(new URL('./results.txt', import.meta.url), `${results.map((r) => JSON.stringify(r)).join('\n')}\n`)
