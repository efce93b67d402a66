import { testPoints } from './points.suite.js'

testPoints(1, 2)
