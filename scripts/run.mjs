// The one door for `npm start`, `npm test` and the rest: a fresh clone needs no step before any of them.
// No static imports: a Node too old to know `node:` specifiers must still reach the message below.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)

if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`Sallyport needs Node 20.19 or newer; this is ${process.versions.node} (${process.execPath}).`)
  process.exitCode = 1
} else {
  import('./verbs.mjs')
    .then(({ run }) => run(process.argv.slice(2)))
    .catch((error) => {
      console.error(`sallyport: ${error.expected ? error.message : error.stack}`)
      process.exitCode = 1
    })
}
