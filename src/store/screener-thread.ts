import { parentPort } from 'node:worker_threads'
import { perform, type Task } from './screener.js'

const port = parentPort
if (port === null) throw new Error('screener-thread.js runs as a worker thread only')

// What throws here ends the thread, and who waits for the answer holds the value back.
port.on('message', (task: Task) => port.postMessage(perform(task)))
