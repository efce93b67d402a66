import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, rename, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline, Readable } from 'node:stream'
import { pipeline as whole } from 'node:stream/promises'
import { promisify } from 'node:util'
import { createGunzip, gunzip, gzip } from 'node:zlib'
import { type ArchiveFile, archiveFolderOf, isArchiveFile } from '../core/audit/archive.js'

const [packed, unpacked] = [promisify(gzip), promisify(gunzip)]

/** A line is a tile, and a tile one commit's entries: far below. More is no file of ours, and must not fill the memory of a reader. */
const MAX_LINE = 64 * 1024 * 1024

/** The file cannot be read here, or is not what it should be. */
export class ArchiveUnreadable extends Error {
  constructor(file: string, why: string) {
    super(`archive ${file}: ${why}`)
    this.name = 'ArchiveUnreadable'
  }
}

/**
 * A folder with files of old tiles, which all nodes see. A file is a row of gzip members, each some tiles long, so that one of them
 * can be read by itself and `zcat` reads them all. Nothing in it says when it was made: the same entries give the same bytes, where
 * the same Node, and so the same zlib, compresses them.
 */
export interface ArchiveFolder {
  readonly dir: string
  /** Null where there is no such file. Throws ArchiveUnreadable where it cannot be read. */
  open(file: string): Promise<ArchiveFile | null>
  /** Bytes from `offset` up to `end`, unpacked: whole members. Throws ArchiveUnreadable. */
  part(file: string, offset: number, end: number): Promise<string>
  /** SHA-256 of the file as it lies there, hex; null where there is none. */
  hashOf(file: string): Promise<string | null>
  /** Names of all files of a tenant, sorted. */
  list(tenant: string): Promise<string[]>
  /** A new file; nothing of an earlier try is left. @param name tells it from what another node may be writing */
  draft(tenant: string, name: string): Promise<Draft>
}

/** A file that is being written. */
export interface Draft {
  /** Adds a member; returns where it begins. */
  add(text: string): Promise<number>
  /** Flushes the file to the disk, gives it the name that its hash leads to, flushes the folder, and reads it back. */
  keep(nameOf: (sha256: string) => string): Promise<{ file: string; sha256: string; bytes: number }>
  drop(): Promise<void>
}

export function archiveFolder(dir: string): ArchiveFolder {
  const pathOf = (file: string) => {
    if (!isArchiveFile(file)) throw new ArchiveUnreadable(file, 'this is no name of one')
    return join(dir, file)
  }
  return {
    dir,
    async open(file) {
      const path = pathOf(file)
      if ((await sizeOf(file, path)) === null) return null
      return reading(file, path)
    },
    async part(file, offset, end) {
      const handle = await open(pathOf(file), 'r').catch(cannot(file))
      try {
        const bytes = Buffer.alloc(Math.max(0, end - offset))
        const { bytesRead } = await handle.read(bytes, 0, bytes.length, offset)
        return String(await unpacked(bytes.subarray(0, bytesRead), { maxOutputLength: MAX_LINE }))
      } catch (error) {
        throw new ArchiveUnreadable(file, (error as Error).message)
      } finally {
        await handle.close()
      }
    },
    async hashOf(file) {
      const path = pathOf(file)
      if ((await sizeOf(file, path)) === null) return null
      const hash = createHash('sha256')
      await whole(createReadStream(path), hash).catch(cannot(file))
      return hash.digest('hex')
    },
    async list(tenant) {
      const folder = archiveFolderOf(tenant)
      const names = await readdir(join(dir, folder)).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return []
        return cannot(folder)(error)
      })
      return names.sort().map((name) => `${folder}/${name}`)
    },
    async draft(tenant, name) {
      const folder = join(dir, archiveFolderOf(tenant))
      if ((await mkdir(folder, { recursive: true, mode: 0o700 })) !== undefined) await flushed(dir)
      for (const left of await readdir(folder)) if (left.endsWith(PART)) await unlink(join(folder, left))
      return drafting(dir, join(folder, `${name}${PART}`))
    },
  }
}

const PART = '.part'

function reading(file: string, path: string): ArchiveFile {
  const hash = createHash('sha256')
  let sha256: string | null = null
  const bytes = async function* () {
    for await (const chunk of createReadStream(path)) {
      hash.update(chunk as Buffer)
      yield chunk as Buffer
    }
  }
  return {
    lines: (async function* () {
      try {
        // The callback only keeps a fault from being thrown twice: it also ends the loop over the lines.
        yield* linesOf(pipeline(Readable.from(bytes()), createGunzip(), () => {}))
      } catch (error) {
        throw new ArchiveUnreadable(file, (error as Error).message)
      }
    })(),
    sha256: () => {
      sha256 ??= hash.digest('hex')
      return sha256
    },
  }
}

async function* linesOf(input: Readable): AsyncGenerator<string> {
  let unfinished: Buffer[] = []
  let length = 0
  for await (const chunk of input) {
    let rest = chunk as Buffer
    for (let end = rest.indexOf(10); end !== -1; end = rest.indexOf(10)) {
      yield String(Buffer.concat([...unfinished, rest.subarray(0, end)]))
      unfinished = []
      length = 0
      rest = rest.subarray(end + 1)
    }
    unfinished.push(rest)
    length += rest.length
    if (length > MAX_LINE) throw new Error('a line has no end')
  }
  if (length > 0) yield String(Buffer.concat(unfinished))
}

async function drafting(dir: string, part: string): Promise<Draft> {
  const handle: FileHandle = await open(part, 'wx', 0o600)
  const hash = createHash('sha256')
  let bytes = 0
  const drop = async () => {
    await handle.close().catch(() => {})
    await unlink(part).catch(() => {})
  }
  return {
    async add(text) {
      const member = await packed(text, { level: 6 })
      const offset = bytes
      for (let at = 0; at < member.length; ) at += (await handle.write(member, at)).bytesWritten
      hash.update(member)
      bytes += member.length
      return offset
    },
    async keep(nameOf) {
      await handle.sync()
      await handle.close()
      const sha256 = hash.digest('hex')
      const file = nameOf(sha256)
      const path = join(dir, file)
      await rename(part, path)
      await flushed(join(path, '..'))
      if ((await archiveFolder(dir).hashOf(file)) !== sha256)
        throw new ArchiveUnreadable(file, 'what was written is not what is read')
      return { file, sha256, bytes }
    },
    drop,
  }
}

/** So that a name is there after a power cut, too. */
async function flushed(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function sizeOf(file: string, path: string): Promise<number | null> {
  try {
    return (await stat(path)).size
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return null
    return cannot(file)(error as Error)
  }
}

const cannot =
  (file: string) =>
  (error: Error): never => {
    throw new ArchiveUnreadable(file, (error as NodeJS.ErrnoException).code ?? error.message)
  }
