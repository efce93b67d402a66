/** A module imported with `?constants` also says all that it keeps to itself in CAPITALS, as `CONSTANTS`: its SQL, among others. */
export function constants() {
  return {
    name: 'constants',
    enforce: 'pre' as const,
    transform(code: string, id: string) {
      if (!id.endsWith('?constants')) return undefined
      const names = [...code.matchAll(/^(?:export )?const ([A-Z][A-Z0-9_]*)\b/gm)].map(([, name]) => name)
      return `${code}\nexport const CONSTANTS = { ${names.join(', ')} }\n`
    },
  }
}
