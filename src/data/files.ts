import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** Bytes of a file from a position on; fewer where it ends before. */
export function readPart(file: string, position: number, length: number): Uint8Array {
  const handle = openSync(file, 'r');
  try {
    // Positions and lengths may come from a damaged file.
    const bytes = new Uint8Array(Math.max(0, Math.min(length, fstatSync(handle).size - position)));
    let done = 0;
    while (done < bytes.length) {
      const got = readSync(handle, bytes, done, bytes.length - done, position + done);
      if (got === 0) break;
      done += got;
    }
    return bytes.subarray(0, done);
  } finally {
    closeSync(handle);
  }
}
