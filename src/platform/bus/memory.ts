import type { Bus } from './seam.js'

/** In-process bus: a listener hears a hint in the same turn of the event loop's microtasks, never inside the caller's stack. */
export function memoryBus(): Bus {
  const listeners = new Set<(tenant: string, topic: string) => void>()
  return {
    hint(tenant, topic) {
      queueMicrotask(() => {
        for (const listener of listeners) listener(tenant, topic)
      })
    },
    onHint(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    close: async () => listeners.clear(),
  }
}
