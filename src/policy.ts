/**
 * `sallyport/policy`: the policy engine on its own, without server, store or clock.
 *
 * parsePolicy → compilePolicy → evaluate. The first reports every fault with its place and throws nothing; the second
 * throws PolicyCompileError for a document no parser made; the third always answers, and answers DENY when in doubt.
 */
export { commandClass } from './core/policy/command.js'
export { type CompiledPolicy, compilePolicy, PolicyCompileError, policyDigest } from './core/policy/compile.js'
export { type Constraints, enforcers, mergeConstraints } from './core/policy/constraints.js'
export { type Change, diffPolicies } from './core/policy/diff.js'
export type * from './core/policy/document.js'
export {
  type AppliedLimit,
  type EffectiveClass,
  type Evaluation,
  evaluate,
  validateInput,
} from './core/policy/evaluate.js'
export { explain, type Why } from './core/policy/explain.js'
export { type FixtureResult, runFixtures } from './core/policy/fixtures.js'
export { type Fault, parsePolicy } from './core/policy/parse.js'
export { isTopic, isTopicPattern, topicMatches } from './core/policy/topics.js'
