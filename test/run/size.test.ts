import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compressedSizes } from '../../src/run/size.ts';

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
});
