import { testSeeds } from './seeds.suite.js'

testSeeds('pglite', 1, 250)
