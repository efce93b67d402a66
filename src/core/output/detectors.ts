/** What kind of harm a find does; `output_rules` may speak of a class or of one detector. */
export type DetectorClass = 'secret' | 'private_key' | 'pii'

export interface Detector {
  /** snake_case, stable: it stands in placeholders, findings, metrics and policy files. */
  readonly name: string
  readonly class: DetectorClass
  readonly description: string
}

const row = (name: string, cls: DetectorClass, description: string): Detector => ({ name, class: cls, description })

/**
 * The closed catalogue. Order is rank: where two detectors claim the same text with equal severity, the earlier one names
 * it, so a provider's token inside `password=…` is called by its provider.
 */
export const DETECTORS = [
  row('private_key', 'private_key', 'PEM, OpenSSH, PGP, PuTTY, age and bare DER private keys'),
  row('aws_access_key', 'secret', 'AWS access key id (AKIA…, ASIA…)'),
  row('aws_secret_key', 'secret', 'AWS secret access key, by its name or beside an access key id'),
  row('github_token', 'secret', 'GitHub tokens: ghp_, gho_, ghu_, ghs_, ghr_, github_pat_'),
  row('gitlab_token', 'secret', 'GitLab tokens: glpat-, gldt-, glrt-, glptt-'),
  row('slack_token', 'secret', 'Slack tokens: xoxb-, xoxp-, xoxa-, xoxr-, xoxs-, xapp-'),
  row('slack_webhook', 'secret', 'Slack incoming webhook URL'),
  row('stripe_key', 'secret', 'Stripe secret, restricted and webhook keys'),
  row('google_api_key', 'secret', 'Google API key (AIza…), OAuth access token (ya29.) and client secret (GOCSPX-)'),
  row('openai_key', 'secret', 'OpenAI keys: sk-…, sk-proj-, sk-svcacct-, sk-admin-'),
  row('anthropic_key', 'secret', 'Anthropic keys: sk-ant-'),
  row('azure_storage_key', 'secret', 'Azure storage and service bus keys, shared access signatures'),
  row('npm_token', 'secret', 'npm access token: npm_'),
  row('pypi_token', 'secret', 'PyPI upload token: pypi-'),
  row('sendgrid_key', 'secret', 'SendGrid key: SG.'),
  row('twilio_key', 'secret', 'Twilio API key: SK and 32 hex digits'),
  row('telegram_token', 'secret', 'Telegram bot token'),
  row('discord_token', 'secret', 'Discord bot token and webhook URL'),
  row('huggingface_token', 'secret', 'Hugging Face token: hf_'),
  row('digitalocean_token', 'secret', 'DigitalOcean tokens: dop_v1_, doo_v1_, dor_v1_'),
  row('shopify_token', 'secret', 'Shopify tokens: shpat_, shpss_, shpca_, shppa_'),
  row('sallyport_key', 'secret', "this system's own keys: sp_"),
  row(
    'service_token',
    'secret',
    'other services by their prefix: Vault, Doppler, Grafana, Linear, Notion, Square, Docker …',
  ),
  row('jwt', 'secret', 'JSON Web Token whose header names an algorithm'),
  row('connection_string', 'secret', 'database or broker URL with a password'),
  row('url_credentials', 'secret', 'any other URL with a password in it'),
  row('basic_auth', 'secret', 'Basic credentials of an HTTP header'),
  row('bearer_token', 'secret', 'Bearer credentials of an HTTP header'),
  row('assigned_secret', 'secret', 'a value that looks random, assigned to a name such as password, secret or api_key'),
  row('credit_card', 'pii', 'payment card: known range, length and Luhn digit, plain or grouped'),
  row('iban', 'pii', "IBAN: the country's length and mod 97"),
  row('us_ssn', 'pii', 'US social security number in an issued range'),
  row('email', 'pii', 'e-mail address'),
  row('phone', 'pii', 'phone number: international, or a national form with separators'),
] as const satisfies readonly Detector[]

/** Index into DETECTORS by name; a find carries the index, because rank is compared more often than the name is read. */
export const RANK: ReadonlyMap<string, number> = new Map(DETECTORS.map((d, i) => [d.name, i]))

/** Rank of a detector that must exist; used at module load only. */
export function rankOf(name: string): number {
  const rank = RANK.get(name)
  if (rank === undefined) throw new Error(`no detector is called ${name}`)
  return rank
}

/** A find: [start, end) in UTF-16 units of the text scanned. It never holds the text itself. */
export interface Hit {
  start: number
  end: number
  rank: number
}
