import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { compressedSizes } from '../../src/run/size.ts';
import { random } from '../helpers/models.ts';

describe('compressedSizes', () => {
  it('counts the tensor data beside a model', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'qtool-size-'));
    const path = join(folder, 'model.onnx');
    await writeFile(path, 'x'.repeat(100));
    const alone = await compressedSizes(path);
    await writeFile(`${path}.data`, 'x'.repeat(100));
    expect(await compressedSizes(path)).toEqual({ gzip: 2 * alone.gzip, brotli: 2 * alone.brotli });
    await rm(folder, { recursive: true, force: true });
  });

  it("is what zlib's own functions make of the whole file at the levels of servers", async () => {
    const folder = await mkdtemp(join(tmpdir(), 'qtool-size-'));
    const path = join(folder, 'model.onnx');
    // Of four letters a longer search finds longer repetitions. More than one chunk of a stream.
    const next = random(1);
    const text = Buffer.from(Array.from({ length: 200_000 }, () => 'acgt'[Math.floor(4 * next())]).join(''));
    await writeFile(path, text);
    const params = { [constants.BROTLI_PARAM_QUALITY]: 6 };
    expect(await compressedSizes(path)).toEqual({
      gzip: gzipSync(text, { level: 9 }).length,
      brotli: brotliCompressSync(text, { params }).length,
    });
    expect(gzipSync(text, { level: 6 }).length).not.toBe(gzipSync(text, { level: 9 }).length);
    await rm(folder, { recursive: true, force: true });
  });
});
