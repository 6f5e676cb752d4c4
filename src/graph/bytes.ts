import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { QtoolError } from '../util/error.ts';

/** A file as it was when it was opened. Another file may take its place, or it may be written over: then nothing is read any more. */
export interface FileState {
  readonly path: string;
  readonly size: number;
  /** Time of the last change, ms. */
  readonly changed: number;
  readonly inode: number;
  readonly isFile: boolean;
}

/** Bytes that stay in their file until they are needed. */
export interface StoredBytes {
  readonly file: FileState;
  /** Where in the file they begin. */
  readonly at: number;
  readonly length: number;
}

/** Bytes in memory or in a file. */
export type Bytes = Uint8Array | StoredBytes;

/** Node reads and writes no more than 2 GiB at once. */
export const mostAtOnce = 2 ** 30;

/** Bytes of a piece, where large data goes through piece by piece: whole elements of any type, and few enough for the processor's cache. */
const pieceBytes = 2 ** 20;

/** Whether bytes are in a file. */
export const isStored = (bytes: Bytes): bytes is StoredBytes => 'file' in bytes;

/** @throws Error of the file system where there is no such file. */
export function fileState(path: string): FileState {
  const info = statSync(path);
  return { path, size: info.size, changed: info.mtimeMs, inode: info.ino, isFile: info.isFile() };
}

/** All bytes of a file. */
export const wholeFile = (file: FileState): StoredBytes => ({ file, at: 0, length: file.size });

/** @throws QtoolError('model') where the file is no more what it was when it was opened. */
export function checkUnchanged(file: FileState, now: { size: number; mtimeMs: number; ino: number }): void {
  if (now.size === file.size && now.mtimeMs === file.changed && now.ino === file.inode) return;
  throw new QtoolError('model', 'the file was changed while its weights were still needed', {
    at: file.path,
    hint: 'leave it as it is until the work is done, and begin again',
  });
}

/** Reads from a file that was opened before. Calls `use` with a function that fills an array from a place in it. */
export function withFile<T>(file: FileState, use: (fill: (into: Uint8Array, at: number) => void) => T): T {
  let fd: number;
  try {
    fd = openSync(file.path, 'r');
  } catch (cause) {
    const message = `the file cannot be read any more: ${(cause as Error).message}`;
    throw new QtoolError('model', message, { at: file.path, hint: 'its weights are still needed', cause });
  }
  try {
    checkUnchanged(file, fstatSync(fd));
    return use((into, at) => {
      for (let done = 0; done < into.length;) {
        const read = readSync(fd, into, done, Math.min(mostAtOnce, into.length - done), at + done);
        if (read === 0) throw new QtoolError('model', `the file ends at ${at + done} bytes`, { at: file.path });
        done += read;
      }
    });
  } finally {
    closeSync(fd);
  }
}

/** The bytes in memory. Those of a file are read anew at each call and start at an address that any typed array may have. */
export function bytesOf(bytes: Bytes): Uint8Array {
  if (!isStored(bytes)) return bytes;
  return withFile(bytes.file, (fill) => {
    const data = new Uint8Array(Buffer.allocUnsafeSlow(bytes.length).buffer);
    fill(data, bytes.at);
    return data;
  });
}

/** The bytes piece by piece; a piece is valid until the next one is asked for. */
export function* piecesOf(bytes: Bytes): Generator<Uint8Array> {
  if (!isStored(bytes)) {
    for (let at = 0; at < bytes.length; at += mostAtOnce) yield bytes.subarray(at, at + mostAtOnce);
    return;
  }
  const buffer = new Uint8Array(Math.min(pieceBytes, bytes.length));
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const piece = buffer.subarray(0, Math.min(pieceBytes, bytes.length - at));
    withFile(bytes.file, (fill) => fill(piece, bytes.at + at));
    yield piece;
  }
}

/** One array of all these bytes, one after the other. */
export function joined(parts: readonly Bytes[]): Uint8Array {
  const all = new Uint8Array(Buffer.allocUnsafeSlow(parts.reduce((sum, part) => sum + part.length, 0)).buffer);
  let at = 0;
  for (const part of parts) {
    if (isStored(part)) withFile(part.file, (fill) => fill(all.subarray(at, at + part.length), part.at));
    else all.set(part, at);
    at += part.length;
  }
  return all;
}
