import { testSeeds } from './seeds.suite.js'

testSeeds(1, 250)
