import { createReadStream } from 'node:fs';
import { access, readFile, stat } from 'node:fs/promises';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import zlib, { constants, createBrotliCompress, createGzip } from 'node:zlib';

/** What servers compress with as they answer. Quality 9 needs 30 MB more memory for a thousandth, 11 takes 3 s a megabyte for a hundredth. */
const brotliQuality = 6;

/**
 * Bytes of a model under gzip -9 and brotli -6: what a web page downloads. Its file and, where there is one, that of its
 * tensor data beside it. Streamed.
 * @param limit bytes above which nothing is measured, for it takes longer than most of what was done: both are 0 then.
 */
export async function compressedSizes(
  path: string,
  limit = Infinity,
): Promise<{ readonly gzip: number; readonly brotli: number }> {
  const data = `${path}.data`;
  const files = (await access(data).catch(() => false)) === false ? [path] : [path, data];
  const bytes = await Promise.all(files.map(async (file) => (await stat(file)).size));
  if (bytes.reduce((a, b) => a + b, 0) > limit) return { gzip: 0, brotli: 0 };
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

/** Bytes of files under brotli -11 and zstd -19, the most that general compressors do; undefined for zstd where this Node.js has none. */
export async function generalSizes(
  paths: readonly string[],
): Promise<{ readonly brotli: number; readonly zstd: number | undefined }> {
  const { zstdCompress } = zlib as { zstdCompress?: (bytes: Uint8Array, options: object, done: (error: Error | null, result: Uint8Array) => void) => void }; // prettier-ignore
  const level = (constants as Readonly<Record<string, number>>)['ZSTD_c_compressionLevel'];
  let [brotli, zstd] = [0, 0];
  for (const path of paths) {
    const bytes = await readFile(path);
    const { BROTLI_PARAM_LGWIN, BROTLI_PARAM_SIZE_HINT, BROTLI_MAX_WINDOW_BITS } = constants;
    const params = { [BROTLI_PARAM_LGWIN]: BROTLI_MAX_WINDOW_BITS, [BROTLI_PARAM_SIZE_HINT]: bytes.length };
    brotli += (await promisify(zlib.brotliCompress)(bytes, { params })).length;
    if (zstdCompress && level !== undefined) zstd += (await promisify(zstdCompress)(bytes, { params: { [level]: 19 } })).length; // prettier-ignore
  }
  return { brotli, zstd: zstdCompress ? zstd : undefined };
}
