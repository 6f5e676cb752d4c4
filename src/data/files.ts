import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** Bytes of a file from a position on; fewer where it ends before. */
export function readPart(file: string, position: number, length: number): Uint8Array {
  const handle = openSync(file, 'r');
  try {
    // Positions and lengths may come from a damaged file.
    const bytes = new Uint8Array(Math.max(0, Math.min(length, fstatSync(handle).size - position)));
    return bytes.subarray(0, fill(handle, bytes, position));
  } finally {
    closeSync(handle);
  }
}

/** Fills an array from a position of an open file on; gives how many bytes there were. */
export function fill(handle: number, target: Uint8Array, position: number): number {
  let done = 0;
  while (done < target.length) {
    const got = readSync(handle, target, done, target.length - done, position + done);
    if (got === 0) break;
    done += got;
  }
  return done;
}
