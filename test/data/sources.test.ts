import { parseDataConfig, type DataConfig } from '../../src/data/config.ts';
import { openData } from '../../src/data/open.ts';
import { shuffled } from '../../src/data/order.ts';
import { uniform } from '../../src/util/uniform.ts';
import { TensorCodec } from '../../src/graph/proto.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import * as fixtures from './fixtures.ts';
import { failure, floatInput, gunzip64, numbers, samplesOf, temporaryFolder } from './support.ts';

const folder = temporaryFolder();
const config = (text: string): DataConfig => parseDataConfig(text, `${folder.path}/d.yaml`);

describe('Parquet', () => {
  beforeAll(() => {
    folder.write('p/images.parquet', gunzip64(fixtures.parquetImagesGz));
    folder.write('numbers.parquet', gunzip64(fixtures.parquetNumbersGz));
  });

  it('decodes image columns over row groups, in the order of the files', async () => {
    const inputs = [floatInput('x', 'N', 3, 2, 2)];
    const { validation } = await openData(
      config('data: { kind: parquet, path: p }\ntransforms: { scale: 1 }'),
      inputs,
      { part: 'validation' },
    );
    expect(validation.info).toMatchObject({ kind: 'parquet', samples: 5, labelled: true });
    const samples = await samplesOf(validation);
    expect(samples.map(({ target }) => target!.label![0])).toEqual([0, 1, 0, 1, 2]);
    expect(samples.map((sample) => numbers(sample, 'x')[0])).toEqual([0, 20, 40, 60, 80]);
    expect(samples.map((sample) => numbers(sample, 'x')[8])).toEqual([255, 254, 253, 252, 251]);
  });

  it('feeds columns of numbers and lists by name', async () => {
    const inputs = [floatInput('x', 'N', 2), { name: 'm', type: 'int64', dims: ['N'] } as const];
    const text = 'data: { kind: parquet, path: numbers.parquet, inputs: { x: x, m: n }, labels: y }';
    const { validation } = await openData(config(text), inputs, { part: 'validation' });
    const samples = await samplesOf(validation);
    expect(samples.map(({ feeds }) => feeds['x']!.data)).toEqual([Float32Array.of(1.5, 2), Float32Array.of(3, 4), Float32Array.of(5, 6.25)]); // prettier-ignore
    expect(samples[2]!.feeds['m']).toEqual({ type: 'int64', dims: [1], data: BigInt64Array.of(9n) });
    expect(samples.map(({ target }) => [...target!.label!])).toEqual([[0, -1], [1, 1], [0, 0]]); // prettier-ignore
  });

  it('says what is wrong', async () => {
    const inputs = [floatInput('x', 'N', 2)];
    folder.write('bad.parquet', 'not parquet');
    expect(await failure(() => openData(config('data: { kind: parquet, path: bad.parquet }'), inputs))).toMatch(/bad\.parquet is not a Parquet file/); // prettier-ignore
    const text = 'data: { kind: parquet, path: numbers.parquet, labels: yy }';
    expect(await failure(() => openData(config(text), inputs))).toMatch(/d\.yaml:1:\d+ there is no column "yy" \(did you mean "y"\?\); there are x, n, y/); // prettier-ignore
    const classes = 'data: { kind: parquet, path: p }\ntransforms: { scale: 1 }';
    const { validation } = await openData(config(classes), [floatInput('x', 'N', 3, 2, 2)], { part: 'validation', classes: 2 }); // prettier-ignore
    expect(await failure(() => samplesOf(validation))).toMatch(/images\.parquet, row 4 label 2 is out of range/);
  });
});

describe('ONNX test data', () => {
  const tensor = (name: string, ...data: number[]): Uint8Array =>
    TensorCodec.encode(makeTensor(name, 'float32', [1, data.length], Float32Array.from(data)));
  const inputs = [floatInput('a', 1, 2), floatInput('b', 1, 1)];

  it('feeds tensors by name or number, and expects the outputs', async () => {
    folder.write('o/test_data_set_10/input_0.pb', tensor('', 5, 6));
    folder.write('o/test_data_set_10/input_1.pb', tensor('', 7));
    folder.write('o/test_data_set_2/input_0.pb', tensor('b', 1));
    folder.write('o/test_data_set_2/input_1.pb', tensor('a', 2, 3));
    folder.write('o/test_data_set_2/output_0.pb', tensor('', 4));
    const { validation } = await openData(`${folder.path}/o`, inputs, { part: 'validation', outputs: ['y'] });
    expect(validation.info).toMatchObject({ kind: 'onnx', samples: 2, labelled: false });
    const inOrder = config('data: { kind: onnx, path: o, shuffle: false }');
    const ordered = await samplesOf((await openData(inOrder, inputs, { part: 'validation' })).validation);
    expect(ordered.map(({ id }) => id.split('/').at(-1))).toEqual(['test_data_set_2', 'test_data_set_10']);
    const byId = new Map((await samplesOf(validation)).map((sample) => [sample.id.split('/').at(-1), sample]));
    const two = byId.get('test_data_set_2')!;
    expect([numbers(two, 'a'), numbers(two, 'b')]).toEqual([[2, 3], [1]]);
    expect(two.target).toEqual({ expected: { y: { type: 'float32', dims: [1, 1], data: Float32Array.of(4) } } });
    expect(numbers(byId.get('test_data_set_10'), 'a')).toEqual([5, 6]);
    expect(byId.get('test_data_set_10')!.target).toBeUndefined();
  });

  it('says what is wrong', async () => {
    folder.write('o2/test_data_set_0/input_0.pb', 'not a tensor at all');
    const open = async (path: string) => samplesOf((await openData(config(`data: { kind: onnx, path: ${path} }`), inputs, { part: 'validation' })).validation); // prettier-ignore
    expect(await failure(() => open('o2'))).toMatch(/o2\/test_data_set_0\/input_0\.pb /);
    folder.write('o4/test_data_set_0/input_0.pb', tensor('', 1, 2));
    folder.write('o4/test_data_set_0/input_2.pb', tensor('c', 1));
    expect(await failure(() => open('o4'))).toMatch(
      /input_2\.pb the model has 2 inputs \(a, b\): this is none of them/,
    );
    folder.write('o5/test_data_set_0/output_0.pb', tensor('', 4));
    const { validation } = await openData(`${folder.path}/o5`, [], { part: 'validation', outputs: ['y'] });
    expect((await samplesOf(validation)).map(({ feeds, target }) => [feeds, Object.keys(target?.expected ?? {})])).toEqual([[{}, ['y']]]); // prettier-ignore
    folder.write('o3/readme', 'x');
    expect(await failure(() => open('o3'))).toMatch(/o3 holds no ONNX test data/);
  });
});

describe('a module', () => {
  const inputs = [floatInput('x', 'N', 1)];
  const open = (text: string, options = {}) => openData(config(text), inputs, { modules: 'run', ...options });

  it('streams an iterable or what a function returns, and is split without overlap', async () => {
    folder.write(
      'gen.mjs',
      `export default async function* ({ inputs, options }) {
         for (let i = 0; i < options.count; i++)
           yield { feeds: { [inputs[0].name]: { dims: [1, 1], data: Float32Array.of(i) } }, label: i % 2 };
       }
       export const list = [{ feeds: { x: { dims: [1, 1], data: Float32Array.of(9) } } }];
       export const used = (function* () {})();
       export const wrong = 7;`,
    );
    const { calibration, validation, notes } = await open('data: { kind: module, path: gen.mjs, options: { count: 20 } }'); // prettier-ignore
    expect([calibration.info.samples, validation.info.samples, validation.info.labelled]).toEqual([4, 16, true]);
    expect(notes[0]).toMatch(/4 of its 20 samples/);
    const values = async (set: typeof calibration) => (await samplesOf(set)).map((sample) => numbers(sample, 'x')[0]!);
    const [first, second] = [await values(calibration), await values(validation)];
    expect([...first, ...second].sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect((await samplesOf(validation))[0]!.target!.label).toEqual(Int32Array.of(second[0]! % 2));
    const list = await open('validation: { kind: module, path: gen.mjs, export: list }', { part: 'validation' });
    expect(await values(list.validation)).toEqual([9]);
  });

  it.each([
    ['gen.mjs, export: nothing', /the module has no export "nothing"; it has default, list, used, wrong/],
    ['gen.mjs, export: used', /a generator that runs only once \(Export the function/],
    ['gen.mjs, export: wrong', /the export "wrong" is not an iterable of samples/],
    ['shape.mjs', /shape\.mjs#0 the tensor "x" has 1 elements, its shape \[1, 2\] says 2/],
    ['label.mjs', /shape\.mjs#0|label\.mjs#0 the label 0\.5 is not a class index/],
    ['syntax.mjs', /the module does not load/],
  ])('says what is wrong with %s', async (source, expected) => {
    folder.write('shape.mjs', 'export default [{ feeds: { x: { dims: [1, 2], data: Float32Array.of(1) } } }]');
    folder.write(
      'label.mjs',
      'export default [{ feeds: { x: { dims: [1, 1], data: Float32Array.of(1) } }, label: 0.5 }]',
    );
    folder.write('syntax.mjs', 'export default [');
    expect(await failure(() => open(`validation: { kind: module, path: ${source} }`, { part: 'validation' }))).toMatch(expected); // prettier-ignore
  });
});

describe('random input', () => {
  it('is seeded, has no labels, and says that it shows no accuracy', async () => {
    const inputs = [floatInput('x', 'N', 3, 8), { name: 'n', type: 'int64', dims: ['N', 'T'] } as const];
    const text = 'data: { kind: random, samples: 200, high: 9, dims: { T: 4 } }';
    const open = (seed?: number) => openData(config(text), inputs, { seed });
    const { calibration, validation } = await open();
    expect(validation.info).toMatchObject({ kind: 'random', samples: 200, labelled: false, notes: [expect.stringMatching(/no accuracy/)] }); // prettier-ignore
    const samples = await samplesOf(validation);
    expect(samples).toEqual(await samplesOf((await open()).validation));
    expect(samples[0]!.feeds).not.toEqual((await samplesOf((await open(1)).validation))[0]!.feeds);
    const others = new Set((await samplesOf(calibration)).map((sample) => numbers(sample, 'x')[0]));
    expect(samples.filter((sample) => others.has(numbers(sample, 'x')[0]))).toEqual([]);
    const values = samples.flatMap((sample) => numbers(sample, 'x'));
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
    // 4,800 normal numbers: five standard errors are 5 / √4800 = 0.072 and 5 · √(2 / 4800) = 0.10; the seed is fixed.
    expect(Math.abs(mean)).toBeLessThan(0.072);
    expect(Math.abs(variance - 1)).toBeLessThan(0.1);
    const integers = samples.flatMap((sample) => numbers(sample, 'n'));
    expect(new Set(integers)).toEqual(new Set([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
  });

  it('is what the config says of each input', async () => {
    const inputs = [
      { name: 'ids', type: 'int64', dims: ['N', 'T'] } as const,
      { name: 'kinds', type: 'int64', dims: ['N', 'T'] } as const,
      { name: 'mask', type: 'bool', dims: ['N', 'T'] } as const,
      floatInput('state', 'N', 2),
      floatInput('wave', 'N', 4),
      { name: 'sr', type: 'int64', dims: [] } as const,
    ];
    const each = '{ ids: { low: 5, high: 16777217 }, kinds: { high: 1 }, state: zeros, wave: { distribution: uniform, low: -3, high: -2 }, sr: { value: 16000 } }'; // prettier-ignore
    const { validation } = await openData(config(`data: { kind: random, high: 7, dims: { T: 300 }, inputs: ${each} }`), inputs); // prettier-ignore
    const samples = await samplesOf(validation, 20);
    const values = (name: string): number[] => samples.flatMap((sample) => numbers(sample, name));
    expect(new Set(values('kinds'))).toEqual(new Set([0, 1]));
    expect(new Set(values('mask'))).toEqual(new Set([0, 1]));
    expect(new Set(values('state'))).toEqual(new Set([0]));
    expect(new Set(values('sr'))).toEqual(new Set([16000]));
    expect(samples[0]!.feeds['sr']!.dims).toEqual([]);
    expect(values('wave').every((v) => v >= -3 && v <= -2)).toBe(true);
    // Odd numbers above 2^24 are no float32: of 6,000 drawn below 2^24 about half are odd.
    expect(values('ids').every((v) => v >= 5 && v <= 16777217)).toBe(true);
    expect(Math.max(...values('ids'))).toBeGreaterThan(2 ** 23);
  });

  it.each([
    ['inputs: { n: { low: 3, high: 2 } }', /d\.yaml:1:\d+ high 2 is below low 3/],
    ['inputs: { n: { high: 1e30 } }', /random input for "n" holds .* which int64 cannot hold/],
    ['inputs: { n: { hihg: 1 } }', /d\.yaml:1:\d+ .*hihg/],
    ['inputs: { n: ones }', /d\.yaml:1:\d+ .*zeros/],
    [
      'dims: { T: 1000000000000 }',
      /d\.yaml:1:\d+ the model input "n" would be \[1, 1000000000000\], more than 268435456 elements/,
    ],
  ])('refuses %s', async (text, expected) => {
    const inputs = [{ name: 'n', type: 'int64', dims: ['N', 'T'] } as const];
    const sized = text.startsWith('dims') ? text : `dims: { T: 2 }, ${text}`;
    expect(await failure(() => openData(config(`data: { kind: random, ${sized} }`), inputs))).toMatch(expected);
  });

  it('asks for the sizes of symbolic axes', async () => {
    const inputs = [{ name: 'n', type: 'int64', dims: ['N', 'T'] } as const];
    expect(await failure(() => openData('random', inputs))).toMatch(/size of axis 1 \("T"\) of the model input "n" is not known \(Give it: dims: \{ T: <size> \}/); // prettier-ignore
  });
});

describe('order', () => {
  it('is a permutation that depends on the seed alone', () => {
    const order = shuffled(1000, 3);
    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    expect(shuffled(1000, 3)).toEqual(order);
    expect(shuffled(1000, 4)).not.toEqual(order);
  });

  it('is fair: every place holds every index about equally often', () => {
    // 6,000 permutations of 4: each of the 16 cells is expected 1,500 times; chi-squared with 9 degrees of freedom is below
    // 27.9 in 99.9 % of cases, and the seeds are fixed.
    const counts = new Array<number>(16).fill(0);
    for (let seed = 0; seed < 6000; seed++) for (const [place, index] of shuffled(4, seed).entries()) counts[place * 4 + index]! += 1; // prettier-ignore
    expect(counts.reduce((sum, n) => sum + (n - 1500) ** 2 / 1500, 0)).toBeLessThan(27.9);
  });

  it('draws uniform numbers', () => {
    const next = uniform(1);
    const bins = new Array<number>(10).fill(0);
    for (let i = 0; i < 10_000; i++) bins[Math.floor(next() * 10)]! += 1;
    // As above: chi-squared with 9 degrees of freedom.
    expect(bins.reduce((sum, n) => sum + (n - 1000) ** 2 / 1000, 0)).toBeLessThan(27.9);
  });
});
