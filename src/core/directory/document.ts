import type { Role } from '../access.js'
import type { DeclaredChannel } from '../channel.js'
import type { AgentTerms, Kind } from '../principal.js'
import type { GroupRule } from '../sign-on.js'

/** As `Name` of the contract: printable ASCII without space at the ends, so that no look-alike passes for another. */
export const NAME = /^[!-~]([ -~]{0,198}[!-~])?$/
/** Who leads a team, and who is on call for it: as the contract has it. */
export const MOST_IN_OFFICE = 50

/** A team as somebody wants it to be. */
export interface DeclaredTeam {
  team: string
  name: string | null
  leads: string[]
  on_call: string[]
}

/** A principal as somebody wants it to be. */
export interface DeclaredPrincipal {
  principal: string
  kind: Kind
  role: Role
  team: string | null
  name: string | null
  email: string | null
  slack?: string | null
  terms: AgentTerms | null
  /** Said: whoever disabled them, from now on they may act again. */
  disabled?: false
}

/** Everybody a file declares. */
export interface DirectoryDocument {
  teams: DeclaredTeam[]
  principals: DeclaredPrincipal[]
  /** What members of the provider's groups are. Absent: nothing is said about them. */
  groups?: GroupRule[]
  /** Absent: nothing is said about channels. */
  channels?: DeclaredChannel[]
}
