import { createReadStream } from 'node:fs';
import { access } from 'node:fs/promises';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createBrotliCompress, createGzip } from 'node:zlib';

/** What servers compress with as they answer. Quality 9 needs 30 MB more memory for a thousandth, 11 takes 3 s a megabyte for a hundredth. */
const brotliQuality = 6;

/**
 * Bytes of a model under gzip -9 and brotli -6: what a web page downloads. Its file and, where there is one, that of its
 * tensor data beside it. Streamed.
 */
export async function compressedSizes(path: string): Promise<{ readonly gzip: number; readonly brotli: number }> {
  const data = `${path}.data`;
  const files = (await access(data).catch(() => false)) === false ? [path] : [path, data];
  const sizes = await Promise.all(files.map(sizesOf));
  const sum = (of: 'gzip' | 'brotli'): number => sizes.reduce((total, size) => total + size[of], 0);
  return { gzip: sum('gzip'), brotli: sum('brotli') };
}

async function sizesOf(path: string): Promise<{ readonly gzip: number; readonly brotli: number }> {
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
  const [gzip, brotli] = await Promise.all([
    count(createGzip({ level: 9 })),
    count(createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: brotliQuality } })),
  ]);
  return { gzip, brotli };
}
