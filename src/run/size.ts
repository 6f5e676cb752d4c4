import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createBrotliCompress, createGzip } from 'node:zlib';

/** Brotli's best quality takes minutes on large files; beyond this the next quality a web server would use. */
const bestBrotliBelow = 16 * 2 ** 20;

/** Bytes of a file under gzip -9 and brotli: what a web page downloads. Streamed. */
export async function compressedSizes(path: string): Promise<{ readonly gzip: number; readonly brotli: number }> {
  const quality = (await stat(path)).size < bestBrotliBelow ? 11 : 5;
  const count = async (through: NodeJS.ReadWriteStream): Promise<number> => {
    let bytes = 0;
    const sink = new Writable({
      write(chunk: Buffer, _encoding, done) {
        bytes += chunk.length;
        done();
      },
    });
    await pipeline(createReadStream(path), through, sink);
    return bytes;
  };
  return {
    gzip: await count(createGzip({ level: 9 })),
    brotli: await count(createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: quality } })),
  };
}
