import type { Claim } from './job.js'
import { uncovered } from './policy/data-use.js'
import type { BoundedWorkflow, PolicyDocument } from './policy/document.js'
import { activation, compileExpression, type Expression, failureReason, type View } from './policy/expression.js'
import { topicMatches } from './policy/topics.js'

export interface CompiledWorkflow {
  bounds: BoundedWorkflow
  starts: Expression
  ends: Expression
}

/** Throws ExpressionError. */
export function compileWorkflow(bounds: BoundedWorkflow, calendars: PolicyDocument['calendars']): CompiledWorkflow {
  const compile = (text: string) => compileExpression(text, calendars)
  return { bounds, starts: compile(bounds.starts), ends: compile(bounds.ends) }
}

/** Why this job is no part of the workflow it names, in words; empty where it is. */
export function outsideWorkflow(
  workflow: CompiledWorkflow,
  isOpen: boolean,
  claim: Claim,
  view: View,
  now: number,
): string[] {
  const { bounds, starts, ends } = workflow
  if (!isOpen) return [`workflow ${bounds.id} is not open`]
  if (!bounds.topics.some((pattern) => topicMatches(pattern, claim.topic)))
    return [`topic ${claim.topic} in workflow ${bounds.id}`]
  const missing = [...asked(starts, true, 'starts'), ...asked(ends, false, 'ends')]
  // Whoever touches nobody knows what, touches too much.
  if (view.data === undefined) missing.push(`data that a job class derives, in workflow ${bounds.id}`)
  return [...missing, ...(view.data ?? []).flatMap((use) => uncovered(use, bounds.data))].slice(0, 20)

  function asked(source: Expression, wanted: boolean, word: string): string[] {
    try {
      return source.run(activation(claim, view, now)) === wanted
        ? []
        : [`workflow ${bounds.id}: ${word} ${source.text}`]
    } catch (error) {
      return [`workflow ${bounds.id}: ${word} failed: ${failureReason(error, source.text)}`]
    }
  }
}

/** One that a person opened. */
export interface OpenedWorkflow {
  tenant: string
  workflow: string
  opened_at: number
  opened_by: string
  /** Since when it counts as proven; null until it ran well for a week. */
  stable_at: number | null
  closed_at: number | null
  closed_by: string | null
}

/** How jobs of it ended since it was opened. */
export interface WorkflowEnds {
  succeeded: number
  failed: number
}

const WEEK_MS = 7 * 86_400_000
const ENOUGH = 10
const ERRORS = 0.05
/** From so many proven ones on, several may be on trial at once. */
export const PROVEN = 3

/** Whether it ran well for a week. What nothing ran in proves nothing. */
export function isStable({ opened_at }: Pick<OpenedWorkflow, 'opened_at'>, ends: WorkflowEnds, now: number): boolean {
  const all = ends.succeeded + ends.failed
  return now - opened_at >= WEEK_MS && all >= ENOUGH && ends.failed / all <= ERRORS
}

/** Which workflow on trial keeps another from being opened; null where none does. Closed ones keep what they proved. */
export function onTrial(opened: readonly OpenedWorkflow[]): OpenedWorkflow | null {
  if (opened.filter(({ stable_at }) => stable_at !== null).length >= PROVEN) return null
  return opened.find(({ stable_at, closed_at }) => stable_at === null && closed_at === null) ?? null
}
