import { readFile, readdir, writeFile } from 'node:fs/promises';
import { main } from '../../src/cli/main.ts';
import { readModel, writeModel } from '../../src/graph/file.ts';
import { pack, unpack } from '../../src/index.ts';
import type { PackReport } from '../../src/report/archive.ts';
import { noise, smallConvNet, weight } from '../helpers/models.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { fakeIo } from './fake_io.ts';
import { openWorkshop, type Workshop } from './workshop.ts';

let shop: Workshop;
beforeAll(async () => {
  shop = await openWorkshop();
  await writeModel(smallConvNet(), shop.path('model.onnx'));
});
afterAll(() => shop.remove());

async function qtool(...args: string[]) {
  const io = fakeIo({ columns: 120 });
  const code = await main(args, io);
  return { code, out: io.out(), err: io.err(), json: <T>() => JSON.parse(io.out()) as T };
}
const same = async (a: string, b: string): Promise<boolean> =>
  Buffer.compare(await readFile(shop.path(a)), await readFile(shop.path(b))) === 0;

describe('qtool pack and unpack', () => {
  it('give a model back byte for byte, and say what each tensor takes', async () => {
    const packed = await qtool('pack', shop.path('model.onnx'), '-o', shop.path('a', 'model.qpack'));
    expect(packed.code).toBe(0);
    expect(packed.out).toMatch(/^conv2\.weight +576 +100\.0 % +32 → \d\d\.\d\d +[\d,]+ +\d\d\.\d % +planes: /m);
    expect(packed.out).toMatch(/model\.qpack: [\d,]+ bytes, \d\d\.\d % of /);
    expect(packed.out).toMatch(/brotli -11 makes [\d,]+ bytes of it \(this is -\d+\.\d %\); zstd /);
    expect(packed.err).toMatch(/^packing /);
    const unpacked = await qtool('unpack', shop.path('a', 'model.qpack'), '-o', shop.path('b', 'same.onnx'));
    expect([unpacked.code, unpacked.out]).toEqual([0, expect.stringMatching(/same\.onnx: [\d,]+ bytes\n$/)]);
    expect(await same('model.onnx', 'b/same.onnx')).toBe(true);
    expect([await readdir(shop.path('a')), await readdir(shop.path('b'))]).toEqual([['model.qpack'], ['same.onnx']]);
  });

  it('counts what is kept, and its bits, as the paper does', async () => {
    // Every tenth of 4,000 weights one of four values, in turn: gaps of 9, in 4 bits.
    const values = noise(1, 4);
    const data = Float32Array.from({ length: 4000 }, (_, i) => (i % 10 === 9 ? values[((i * 7919) >> 3) % 4]! : 0));
    const model = makeModel({
      inputs: [makeValue('x', 'float32', ['N', 40])],
      outputs: [makeValue('y', 'float32', ['N', 100])],
      nodes: [makeNode('MatMul', ['x', 'w'], ['y'])],
      initializers: [makeTensor('w', 'float32', [40, 100], data)],
    });
    await writeModel(model, shop.path('shared.onnx'));
    const { json } = await qtool(
      'pack',
      shop.path('shared.onnx'),
      '-o',
      shop.path('s.qpack'),
      '--json',
      '--no-compare',
    );
    const { tensors, bytes, packed, brotli } = json<PackReport>();
    expect(tensors).toMatchObject([{ name: 'w', shape: [40, 100], bytes: 16_000, elements: 4000, kept: 400, values: 4 }]); // prettier-ignore
    expect([tensors[0]!.weightBits[0], tensors[0]!.indexBits[0]]).toEqual([2, 4]);
    expect([bytes, brotli]).toEqual([(await readFile(shop.path('shared.onnx'))).length, undefined]);
    expect(packed).toBe((await readFile(shop.path('s.qpack'))).length);
  });

  it('take external data along', async () => {
    const model = makeModel({
      inputs: [makeValue('x', 'float32', ['N', 64])],
      outputs: [makeValue('y', 'float32', ['N', 64])],
      nodes: [makeNode('MatMul', ['x', 'w'], ['y'])],
      initializers: [weight('w', [64, 64], 1)],
    });
    await writeModel(model, shop.path('large.onnx'), 1000);
    await pack({ model: shop.path('large.onnx'), output: shop.path('large.qpack'), compare: false });
    const { files } = await unpack({ archive: shop.path('large.qpack'), output: shop.path('out', 'any.onnx') });
    expect(files.map(({ path }) => path)).toEqual([shop.path('out', 'any.onnx'), shop.path('out', 'large.onnx.data')]);
    expect(await same('large.onnx', 'out/any.onnx')).toBe(true);
    expect(await same('large.onnx.data', 'out/large.onnx.data')).toBe(true);
    await readModel(shop.path('out', 'any.onnx'));
    // Its own data must not take its place.
    const clash = { archive: shop.path('large.qpack'), output: shop.path('large.onnx.data'), force: true };
    await expect(unpack(clash)).rejects.toThrow('the model would have the name of its own data');
  });

  it('ends where its signal says, and leaves nothing', async () => {
    const signal = AbortSignal.abort(new Error('enough'));
    const options = { model: shop.path('model.onnx'), output: shop.path('no.qpack'), signal };
    await expect(pack(options)).rejects.toThrow('enough');
    const during = new AbortController();
    const onProgress = () => during.abort(new Error('too long'));
    await expect(pack({ ...options, signal: during.signal, onProgress })).rejects.toThrow('too long');
    expect((await readdir(shop.path())).filter((name) => name.startsWith('no.'))).toEqual([]);
  });
});

describe('bad input of pack and unpack', () => {
  beforeAll(async () => {
    await pack({ model: shop.path('model.onnx'), output: shop.path('good.qpack'), compare: false });
    const good = await readFile(shop.path('good.qpack'));
    await writeFile(shop.path('short.qpack'), good.subarray(0, 500));
    good[700]! ^= 1;
    await writeFile(shop.path('bad.qpack'), good);
    await shop.write('text.onnx', 'version: 1\n');
    await shop.write('there', 'x');
    const away = makeTensor('w', 'float32', [1], new Float32Array(1));
    const model = makeModel({
      inputs: [makeValue('x', 'float32', [1])],
      outputs: [makeValue('y', 'float32', [1])],
      nodes: [makeNode('Add', ['x', 'w'], ['y'])],
      initializers: [{ ...away, data_location: 1, external_data: [{ key: 'location', value: '../../etc/passwd' }] }],
    });
    await writeModel(model, shop.path('away.onnx'));
  });

  it.each<[string, string[], RegExp]>([
    ['no model', ['pack', 'none.onnx', '-o', 'x.qpack'], /none\.onnx: no such file\n/],
    ['text', ['pack', 'text.onnx', '-o', 'x.qpack'], /text\.onnx: this is a text file, not an ONNX model\n/],
    ['a file that is there', ['pack', 'model.onnx', '-o', 'there'], /there: this file exists\n {2}hint: .*--force/],
    [
      'the model itself',
      ['pack', 'model.onnx', '-o', 'model.onnx', '--force'],
      /model\.onnx: this file is being read\n/,
    ],
    ['a folder', ['pack', 'model.onnx', '-o', '.', '--force'], /is a folder, where a file is to be written\n/],
    ['data elsewhere', ['pack', 'away.onnx', '-o', 'x.qpack'], /away\.onnx: external data at "\.\.\/\.\.\/etc\/passwd" lies outside/], // prettier-ignore
    ['no archive', ['unpack', 'model.onnx', '-o', 'x.onnx'], /model\.onnx: this is no archive of version 1\n/],
    ['a missing one', ['unpack', 'none.qpack', '-o', 'x.onnx'], /none\.qpack: no such file\n/],
    ['half of one', ['unpack', 'short.qpack', '-o', 'x.onnx'], /short\.qpack: the archive is damaged: 500 of \d+ bytes are there\n/], // prettier-ignore
    ['a damaged one', ['unpack', 'bad.qpack', '-o', 'x.onnx'], /bad\.qpack: the archive is damaged: its checksum is wrong\n/], // prettier-ignore
    ['a model that is there', ['unpack', 'good.qpack', '-o', 'model.onnx'], /model\.onnx: this file exists\n/],
    ['the archive itself', ['unpack', 'good.qpack', '-o', 'good.qpack', '--force'], /good\.qpack: this file is being read\n/], // prettier-ignore
  ])('%s is one line with its hint, and exit 2', async (_, [command, file, flag, output, ...more], message) => {
    const { code, out, err } = await qtool(command!, shop.path(file!), flag!, shop.path(output!), ...more, '--quiet');
    expect([code, out]).toEqual([2, '']);
    expect(err).toMatch(message);
    expect(err.trimEnd().split('\n')).toHaveLength(2);
    expect((await readdir(shop.path())).filter((name) => name.startsWith('x.') || name.endsWith('.part'))).toEqual([]);
  });

  it('is written over where that is asked for', async () => {
    expect((await qtool('pack', shop.path('model.onnx'), '-o', shop.path('there'), '--force', '--no-compare')).code).toBe(0); // prettier-ignore
    expect((await qtool('unpack', shop.path('there'), '-o', shop.path('away.onnx'), '--force')).code).toBe(0);
    expect(await same('model.onnx', 'away.onnx')).toBe(true);
  });
});
