import { memoryBus, memoryHub } from '../../src/platform/bus/memory.js'
import { busConformance } from './bus.js'

busConformance('memory', async () => {
  const hub = memoryHub()
  return { node: async () => memoryBus(hub), close: async () => {} }
})
