/**
 * What the embedded engine answers, read from its bytes. The parser that comes with it decodes texts as a browser decodes files:
 * it takes a leading U+FEFF for a byte order mark and drops it, and the text is no longer the one whose hash was stored.
 */
export interface Answers {
  /** Type OIDs and names, where the statement was described. */
  fields: { name: string; oid: number }[]
  rows: (string | null)[][]
  /** The first fault, by the names of the driver for Postgres. */
  fault: Fault | null
}
export interface Fault {
  code?: string
  message?: string
  table?: string
  column?: string
  constraint?: string
}

const [ROW_DESCRIPTION, DATA_ROW, ERROR] = [0x54, 0x44, 0x45]
const FAULT_FIELDS: Record<string, keyof Fault> = { C: 'code', M: 'message', t: 'table', c: 'column', n: 'constraint' }

/** Messages are a type byte, a length that counts itself, and a body. */
export function readAnswers(bytes: Uint8Array): Answers {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const answers: Answers = { fields: [], rows: [], fault: null }
  for (let at = 0; at < buffer.length; at += 1 + buffer.readInt32BE(at + 1)) {
    const type = buffer[at]
    if (type === DATA_ROW) answers.rows.push(readRow(buffer, at + 5))
    else if (type === ROW_DESCRIPTION) answers.fields = readFields(buffer, at + 5)
    else if (type === ERROR) answers.fault ??= readFault(buffer, at + 5)
  }
  return answers
}

function readRow(buffer: Buffer, from: number): (string | null)[] {
  let at = from + 2
  return Array.from({ length: buffer.readInt16BE(from) }, () => {
    const length = buffer.readInt32BE(at)
    at += 4
    if (length < 0) return null
    const text = buffer.toString('utf8', at, at + length)
    at += length
    return text
  })
}

function readFields(buffer: Buffer, from: number): Answers['fields'] {
  let at = from + 2
  return Array.from({ length: buffer.readInt16BE(from) }, () => {
    const end = buffer.indexOf(0, at)
    const name = buffer.toString('utf8', at, end)
    const oid = buffer.readUInt32BE(end + 7) // behind table (4) and column (2)
    at = end + 19
    return { name, oid }
  })
}

function readFault(buffer: Buffer, from: number): Fault {
  const fault: Fault = {}
  for (let at = from; buffer[at] !== 0; ) {
    const end = buffer.indexOf(0, at + 1)
    const name = FAULT_FIELDS[String.fromCharCode(buffer[at] as number)]
    if (name !== undefined) fault[name] = buffer.toString('utf8', at + 1, end)
    at = end + 1
  }
  return fault
}
