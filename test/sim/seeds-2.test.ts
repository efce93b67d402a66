import { testSeeds } from './seeds.suite.js'

testSeeds('pglite', 251, 500)
