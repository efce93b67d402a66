import type { ASTNode } from '@marcbachmann/cel-js'
import { RENAMED } from './cel-environment.js'

/** Every node below: arguments may be nodes, lists of nodes, or (map literals) lists of pairs. */
export function children(node: ASTNode): ASTNode[] {
  const found: ASTNode[] = []
  const visit = (value: unknown) => {
    if (Array.isArray(value)) value.forEach(visit)
    else if (typeof value === 'object' && value !== null && 'op' in value) found.push(value as ASTNode)
  }
  visit(node.args)
  return found
}

/** Macros share the nodes of their written form, so renaming here reaches inside `exists(x, x.matches(...))` too. */
export function renameCalls(node: ASTNode): void {
  if (node.op === 'call' || node.op === 'rcall') {
    const args = node.args as unknown as [string, ...unknown[]]
    if (Object.hasOwn(RENAMED, args[0])) args[0] = RENAMED[args[0]]!
  }
  for (const child of children(node)) renameCalls(child)
}

/** `input.a.b` or `labels["env"]` as a dotted path; null for anything else. */
function pathOf(node: ASTNode): string | null {
  if (node.op === 'id') return node.args
  if (node.op === '.') {
    const base = pathOf(node.args[0])
    return base === null ? null : `${base}.${node.args[1]}`
  }
  if (node.op === '[]' && node.args[1].op === 'value' && typeof node.args[1].args === 'string') {
    const base = pathOf(node.args[0])
    return base === null ? null : `${base}.${node.args[1].args}`
  }
  return null
}

const isHas = (node: ASTNode) => node.op === 'call' && node.args[0] === 'has'

/** Paths that hold a value whenever the node is `sense`: from `has(p)`, `"k" in labels`, and, not, or. */
function guards(node: ASTNode, sense: boolean): string[] {
  if (node.op === '!_') return guards(node.args, !sense)
  if (node.op === (sense ? '&&' : '||')) return node.args.flatMap((side) => guards(side, sense))
  if (!sense) return []
  if (isHas(node)) {
    const path = pathOf((node.args as [string, ASTNode[]])[1][0]!)
    return path === null ? [] : [path]
  }
  if (node.op === 'in' && node.args[0].op === 'value') {
    const path = pathOf(node.args[1])
    return path === null ? [] : [`${path}.${String(node.args[0].args)}`]
  }
  return []
}

/** Paths below input, context and labels that are read without a `has()` that holds by then. */
export function unguardedPaths(root: ASTNode): string[] {
  const found = new Set<string>()
  const visit = (node: ASTNode, safe: readonly string[]): void => {
    if (isHas(node)) {
      // has(input.a.b) asks about b and fails where a is missing.
      const base = pathOf((node.args as [string, ASTNode[]])[1][0]!)
        ?.split('.')
        .slice(0, -1)
      if (base && base.length > 1) record(base.join('.'), safe)
      return
    }
    const path = node.op === 'id' ? null : pathOf(node)
    if (path !== null) record(path, safe)
    else if (node.op === '&&' || node.op === '||') {
      const sense = node.op === '&&'
      const [left, right] = node.args
      visit(left, [...safe, ...guards(right, sense)])
      visit(right, [...safe, ...guards(left, sense)])
    } else if (node.op === '?:') {
      const [condition, yes, no] = node.args
      visit(condition, safe)
      visit(yes, [...safe, ...guards(condition, true)])
      visit(no, [...safe, ...guards(condition, false)])
    } else for (const child of children(node)) visit(child, safe)
  }
  const record = (path: string, safe: readonly string[]) => {
    if (!/^(input|context|labels)\./.test(path)) return
    if (!safe.some((guard) => guard === path || guard.startsWith(`${path}.`))) found.add(path)
  }
  visit(root, [])
  return [...found].sort()
}
