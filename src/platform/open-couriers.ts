import { readFileSync } from 'node:fs'
import { type CourierAccess, type Couriers, channelFault, type Sent } from './courier.js'
import { openMail } from './mail.js'
import type { Resolve } from './outbound.js'
import { callPagerDuty } from './pagerduty.js'
import { callSlack } from './slack.js'
import { postWebhook } from './webhook.js'

const MOST_SECRET = 4096

/** @param resolve stands in for the system's name service, in tests */
export function openCouriers(access: CourierAccess, resolve?: Resolve): Couriers {
  /** Read anew every time: a secret that was replaced in its file holds from the next message. Throws with what is wrong. */
  const secret = (name: string): string => {
    const own = Object.hasOwn(access.variables, name) ? access.variables[name] : undefined
    if (own !== undefined && own !== '') return own
    const file = Object.hasOwn(access.variables, `${name}_FILE`) ? access.variables[`${name}_FILE`] : undefined
    if (file === undefined || file === '') throw new Error(`neither ${name} nor ${name}_FILE is set on this node`)
    try {
      const text = readFileSync(file, 'utf8').trim()
      if (text !== '' && text.length <= MOST_SECRET) return text
    } catch (error) {
      throw new Error(`the file of ${name}_FILE cannot be read (${(error as NodeJS.ErrnoException).code})`)
    }
    throw new Error(`the file of ${name}_FILE is empty or too long`)
  }
  const withSecret = async (name: string, send: (value: string) => Promise<Sent>): Promise<Sent> => {
    let value: string
    try {
      value = secret(name)
    } catch (error) {
      return channelFault((error as Error).message)
    }
    return send(value)
  }
  const way = { privateHosts: access.privateHosts, resolve }
  return {
    publicUrl: access.publicUrl,
    missing(variable) {
      try {
        secret(variable)
        return null
      } catch (error) {
        return (error as Error).message
      }
    },
    mail: (mail) => withSecret(mail.url_env, (url) => openMail(url, mail)),
    post: (post) => withSecret(post.secret_env, (key) => postWebhook(post, key, way)),
    slack: (call) => withSecret(call.token_env, (token) => callSlack(call, token, way)),
    page: (call) => withSecret(call.routing_key_env, (key) => callPagerDuty(call, key, way)),
    isSigned(variable, check) {
      try {
        return check(secret(variable))
      } catch {
        return false
      }
    },
  }
}
