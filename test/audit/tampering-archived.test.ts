import { tampering } from './tampering.suite.js'

tampering(true)
