import { utimesSync, writeFileSync } from 'node:fs';
import { parseDataConfig } from '../../src/data/config.ts';
import { openData, type OpenOptions } from '../../src/data/open.ts';
import { TensorCodec } from '../../src/graph/proto.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import * as fixtures from './fixtures.ts';
import { base64, floatInput, gunzip64, png, temporaryFolder } from './support.ts';

const folder = temporaryFolder();
const image = floatInput('x', 'N', 3, 2, 2);

async function print(text: string, options: OpenOptions & { limit?: number } = {}, input = image) {
  const data = await openData(parseDataConfig(text, `${folder.path}/d.yaml`), [input], { modules: 'run', ...options });
  return data.calibration.fingerprint?.(options.limit);
}

/** Same name and same bytes, another time: what a new download of a file looks like. */
const touch = (file: string): void => utimesSync(file, 1, 1);

describe('fingerprint of samples', () => {
  const files: string[] = [];
  beforeAll(async () => {
    for (let i = 0; i < 6; i++) files.push(folder.write(`i/${i}.png`, await png(2, 2, [i, 0, 0])));
  });
  const images = 'data: { kind: image-folder, path: i }\nsplit: { calibration: 4 }\npreprocess: 0..255\n';

  it('is the same as long as nothing changes', async () => {
    expect(await print(images)).toMatch(/^[0-9a-f]{64}$/);
    expect(await print(images)).toBe(await print(images));
  });

  it.each([
    ['another seed', images, { seed: 1 }],
    ['fewer samples', images, { calibrationSamples: 3 }],
    ['a limit', images, { limit: 3 }],
    ['other transforms', `${images}transforms: { scale: 1/255 }\n`, {}],
    ['another order', images.replace('path: i', 'path: i, shuffle: false'), {}],
    ['another share', images.replace('4', '5'), {}],
  ])('changes with %s', async (_, text, options) => {
    expect(await print(text, options)).not.toBe(await print(images));
  });

  it('changes with the input that is fed', async () => {
    expect(await print(images, {}, floatInput('y', 'N', 3, 2, 2))).not.toBe(await print(images));
  });

  it('changes with a file of a sample, and with no other', async () => {
    const text =
      'data: { kind: image-folder, path: i, shuffle: false }\nsplit: { calibration: 4 }\npreprocess: 0..255\n';
    const before = await print(text, { limit: 6 });
    const chosen = await openData(parseDataConfig(text, `${folder.path}/d.yaml`), [image]);
    const ids: string[] = [];
    for await (const { id } of chosen.calibration.samples()) ids.push(id);
    for (const file of files.filter((one) => !ids.includes(one))) touch(file);
    expect(await print(text, { limit: 6 })).toBe(before);
    touch(ids[3] as string);
    const touched = await print(text);
    expect(touched).not.toBe(before);
    // A byte more; the time of the last change is set back as copying programs do.
    writeFileSync(ids[3] as string, Buffer.concat([await png(2, 2, [9, 9, 9]), Buffer.of(0)]));
    touch(ids[3] as string);
    expect(await print(text)).not.toBe(touched);
  });

  const npy = folder.write('a.npz', base64(fixtures.npzStored));
  const parquet = folder.write('p/n.parquet', gunzip64(fixtures.parquetNumbersGz));
  const pb = (i: number): string =>
    folder.write(`o/test_data_set_${i}/input_0.pb`, TensorCodec.encode(makeTensor('', 'float32', [1, 2], Float32Array.of(i, 1)))); // prettier-ignore
  const sets = [0, 1, 2].map(pb);
  it.each([
    ['an archive of arrays', '{ kind: npy, path: a.npz }', [npy]],
    ['a folder of Parquet files', '{ kind: parquet, path: p }', [parquet]],
    ['ONNX test data', '{ kind: onnx, path: o }', sets],
  ])('changes with %s', async (_, source, changed) => {
    const text = `data: ${source}\nsplit: { calibration: 2 }\n`;
    const input = floatInput('x', 'N', 2);
    const before = await print(text, {}, input);
    expect(before).toBe(await print(text, {}, input));
    changed.forEach(touch);
    expect(await print(text, {}, input)).not.toBe(before);
  });

  it('of random input is its seed', async () => {
    const text = 'data: { kind: random }';
    expect(await print(text)).toBe(await print(text));
    expect(await print(text, { seed: 3 })).not.toBe(await print(text));
  });

  it('of a module is unknown: it may read anything', async () => {
    folder.write('m.mjs', 'export default [{ feeds: { x: { dims: [1, 1], data: new Float32Array(1) } } }];');
    const input = floatInput('x', 'N', 1);
    const text = 'calibration: { kind: module, path: m.mjs }\nvalidation: { kind: module, path: m.mjs }\n';
    expect(await print(text, {}, input)).toBeUndefined();
  });
});
