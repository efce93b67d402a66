import { testSeeds } from './seeds.suite.js'

testSeeds(251, 500)
