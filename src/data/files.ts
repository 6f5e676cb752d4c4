import { closeSync, openSync, readSync } from 'node:fs';

/** The first bytes of a file, at most `length`. */
export function readStart(file: string, length: number): Uint8Array {
  return readPart(file, 0, length);
}

/** Bytes of a file from a position on; fewer where it ends before. */
export function readPart(file: string, position: number, length: number): Uint8Array {
  const handle = openSync(file, 'r');
  try {
    const bytes = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      const got = readSync(handle, bytes, done, length - done, position + done);
      if (got === 0) break;
      done += got;
    }
    return bytes.subarray(0, done);
  } finally {
    closeSync(handle);
  }
}
