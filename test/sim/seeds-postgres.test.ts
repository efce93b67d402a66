import { testSeeds } from './seeds.suite.js'

/** 747 once found a violation here. */
testSeeds('postgres', 1, 100, 747)
