import { AT } from './example-rows.js'

const PAGE = '<!doctype html>…'

/** What the document shows of sessions, accounts and the pages to sign on. */
export const SESSION_EXAMPLES = {
  'sessions.get': {
    response: {
      principal: 'person:ada',
      role: 'approver',
      team: 'support',
      leads: ['support'],
      csrf: 'wK4m1ZkqH0bq2pYj0n3yV7cJ5q8Q1x2nE4r6t8u0w2A',
      expires_at: AT + 43_200_000,
    },
  },
  'sessions.change_password': {
    request: { old_password: 'correct horse battery', password: 'staple of another horse' },
    response: { changed: true },
  },
  'accounts.invite': {
    response: {
      principal: 'person:ada',
      link: 'https://sallyport.example.com/invitations/0000000000000000000000000000000000000000000',
      expires_at: AT + 86_400_000,
    },
  },
  'accounts.close': { response: { principal: 'person:ada', closed: true } },
  'sign_on.page': { response: PAGE },
  'sign_on.password': { response: '' },
  'sign_on.oidc': { response: '' },
  'sign_on.callback': { response: '' },
  'sign_on.off': { response: '' },
  'invitations.page': { response: PAGE },
  'invitations.accept': { response: PAGE },
}
