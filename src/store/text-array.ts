/**
 * A list as the text form of `text[]`. `= ANY($n::text[])` is an index condition; `IN (SELECT json_array_elements_text(…))` was
 * planned as a semi join that walks all rows of the tenant.
 */
export function textArray(values: readonly string[]): string {
  return `{${values.map((value) => `"${value.replaceAll(/["\\]/g, '\\$&')}"`).join(',')}}`
}
