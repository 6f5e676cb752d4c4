import { batchAxes, fedWhole, fixedBatch } from '../../src/data/layout.ts';
import { batches } from '../../src/data/batch.ts';
import { parseDataConfig, type DataConfig } from '../../src/data/config.ts';
import { openData } from '../../src/data/open.ts';
import type { ModelInput } from '../../src/graph/query.ts';
import { all, failure, floatInput, numbers, samplesOf, temporaryFolder } from './support.ts';

const folder = temporaryFolder();
const config = (text: string): DataConfig => parseDataConfig(text, `${folder.path}/d.yaml`);

/** A .npy file (NEP 1, version 1) of the numbers 0, 1, 2, … */
function npy(name: string, descr: '<f4' | '<i8', dims: readonly number[]): string {
  const head = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${dims.map((d) => `${d},`).join('')}), }\n`;
  const bytes = Buffer.alloc(10);
  bytes.write('\x93NUMPY\x01\0', 'latin1');
  bytes.writeUInt16LE(head.length, 8);
  const count = dims.reduce((a, b) => a * b, 1);
  const data = descr === '<f4' ? Float32Array.from({ length: count }, (_, i) => i) : BigInt64Array.from({ length: count }, (_, i) => BigInt(16000 + i)); // prettier-ignore
  return folder.write(name, Buffer.concat([bytes, Buffer.from(head), Buffer.from(data.buffer)]));
}

const dims = (...shapes: (ModelInput['dims'] | undefined)[]): Pick<ModelInput, 'dims'>[] => shapes.map((d) => ({ dims: d })); // prettier-ignore

describe('the batch axis of a model', () => {
  // shapes of the inputs, whether samples run alone, the batch that the model insists on
  const table: readonly [string, ReturnType<typeof dims>, boolean, number | undefined][] = [
    ['one free batch', dims(['N', 3, 8, 8], ['N', 4]), false, undefined],
    ['a scalar beside it', dims(['N', 3], []), false, undefined],
    ['an input without a shape', dims(undefined), false, undefined],
    ['one fixed batch', dims([4, 3], [4]), false, 4],
    ['a state before the batch', dims(['B', 512], [2, 'B', 128]), true, 1],
    ['fixed sizes that differ', dims([1, 512], [2, 1, 128]), true, 1],
    ['a constant input', dims(['N', 3], [1, 77]), true, 1],
    ['unnamed sizes before and behind', dims(['?', '?'], [2, '?', 128]), true, 1],
    ['sequences before the batch', dims(['T', 'B', 8], ['B', 'T']), true, 1],
    ['a batch by name', dims(['seq', 'batch', 8]), true, 1],
    ['a mask of the sequence', dims(['B', 'S'], ['B', 'S', 'S']), false, undefined],
  ];
  it.each(table)('%s', (_, inputs, whole, fixed) => {
    expect([fedWhole(inputs), fixedBatch(inputs)]).toEqual([whole, fixed]);
  });

  it('has size 1 in a sample, wherever it stands', () => {
    expect([...batchAxes(dims(['B', 'T'], [2, 'B', 128], ['seq', 'batch', 8]))].sort()).toEqual(['B', 'batch', 'seq']);
  });
});

describe('states beside the batch', () => {
  const inputs = [floatInput('input', 'B', 4), floatInput('state', 2, 'B', 3), { name: 'sr', type: 'int64', dims: [] } as const]; // prettier-ignore

  it('are drawn at random in their full shape', async () => {
    const { validation } = await openData(
      config('data: { kind: random, samples: 3, inputs: { sr: { value: 16000 } } }'),
      inputs,
    );
    const made = await all(batches(validation, { batchSize: 32, fixedBatch: fixedBatch(inputs) }));
    expect(made.map(({ feeds }) => Object.values(feeds).map((t) => t.dims))).toEqual(Array(3).fill([[1, 4], [2, 1, 3], []])); // prettier-ignore
    expect(made[1]?.feeds['sr']?.data).toEqual(BigInt64Array.of(16000n));
  });

  it('come from arrays of samples, of samples on axis 1, or of one value for all', async () => {
    npy('input.npy', '<f4', [5, 4]);
    npy('sr.npy', '<i8', []);
    const arrays = (state: string): DataConfig => config(`data: { kind: npy, shuffle: false, inputs: { input: input.npy, sr: sr.npy, state: ${state} } }`); // prettier-ignore
    const second = async (state: string): Promise<readonly number[]> => {
      const { validation } = await openData(arrays(state), inputs, { part: 'validation' });
      const samples = await samplesOf(validation);
      expect(samples.map(({ feeds }) => [feeds['input']?.dims, feeds['state']?.dims, feeds['sr']?.data])).toEqual(Array(5).fill([[1, 4], [2, 1, 3], BigInt64Array.of(16000n)])); // prettier-ignore
      return numbers(samples[1], 'state');
    };
    npy('first.npy', '<f4', [5, 2, 1, 3]);
    npy('short.npy', '<f4', [5, 2, 3]);
    npy('along.npy', '<f4', [2, 5, 3]);
    npy('same.npy', '<f4', [2, 1, 3]);
    expect(await second('first.npy')).toEqual([6, 7, 8, 9, 10, 11]);
    expect(await second('short.npy')).toEqual([6, 7, 8, 9, 10, 11]);
    expect(await second('along.npy')).toEqual([3, 4, 5, 18, 19, 20]);
    expect(await second('{ array: along.npy, axis: 1 }')).toEqual([3, 4, 5, 18, 19, 20]);
    expect(await second('same.npy')).toEqual([0, 1, 2, 3, 4, 5]);
    expect(await failure(() => second('{ array: same.npy, axis: 3 }'))).toMatch(/d\.yaml:1:\d+ the array has the shape \[2, 1, 3\]: there is no axis 3/); // prettier-ignore
  });
});

describe('inputs of unusual shape', () => {
  const random = (text: string, ...inputs: ModelInput[]): Promise<readonly (readonly number[] | undefined)[]> =>
    openData(config(`data: { kind: random${text} }`), inputs).then(async ({ validation }) => {
      const [sample] = await samplesOf(validation, 1);
      return inputs.map(({ name }) => sample?.feeds[name]?.dims);
    });

  it('takes a scalar from an array with one number a sample', async () => {
    npy('numbers.npy', '<f4', [3]);
    const { validation } = await openData(config('data: { kind: npy, path: numbers.npy }'), [floatInput('x')], { part: 'validation' }); // prettier-ignore
    expect((await samplesOf(validation)).map(({ feeds }) => feeds['x']?.dims)).toEqual([[], [], []]);
  });

  it('needs the shape of an input that declares none', async () => {
    const input: ModelInput = { name: 'x', type: 'float32', dims: undefined };
    expect(await failure(() => random('', input))).toMatch(/declares no shape for its input "x" \(Give the shape of a sample: kind: random, inputs: \{ x: \{ dims: \[1, /); // prettier-ignore
    expect(await random(', inputs: { x: { dims: [1, 3, 8, 8] } }', input)).toEqual([[1, 3, 8, 8]]);
  });

  it('asks for sizes it cannot know, and refuses shapes that do not fit', async () => {
    const unnamed = floatInput('state', 2, '?', '?');
    expect(await failure(() => random('', floatInput('x', 'N', 4), unnamed))).toMatch(/axis 1 \("\?"\).*inputs: \{ state: \{ dims: \[1, /); // prettier-ignore
    expect(await random(', inputs: { state: { dims: [2, 1, 8] } }', floatInput('x', 'N', 4), unnamed)).toEqual([[1, 4], [2, 1, 8]]); // prettier-ignore
    expect(await failure(() => random(', inputs: { state: { dims: [3, 1, 8] } }', floatInput('x', 'N', 4), unnamed))).toMatch(/\[3, 1, 8\] does not fit/); // prettier-ignore
    expect(await failure(() => random(', inputs: { inptu: zeros }', floatInput('input', 'N', 4)))).toMatch(/no input "inptu" \(did you mean "input"\?\)/); // prettier-ignore
    expect(await random(', dims: { seq: 7 }', floatInput('x', 'seq', 'batch', 2))).toEqual([[7, 1, 2]]);
  });
});

describe('sizes that are given', () => {
  const inputs: ModelInput[] = [floatInput('x', 'N', 3, '?'), { name: 'ids', type: 'int64', dims: ['N', 'T'] }];
  const open = (dims: Record<string, number | number[]>, text = ', dims: { "?": 2, T: 3 }') => openData(config(`data: { kind: random${text} }`), inputs, { dims }); // prettier-ignore

  it('stand for free axes and whole inputs, for the batch too', async () => {
    const { validation, batchSize } = await open({ N: 4, T: 7, x: [4, 3, 9] }, '');
    expect(batchSize).toBe(4);
    const [sample] = await samplesOf(validation, 1);
    expect([sample?.feeds['x']?.dims, sample?.feeds['ids']?.dims]).toEqual([[1, 3, 9], [1, 7]]); // prettier-ignore
    expect((await open({})).batchSize).toBeUndefined();
  });

  it('are what samples are checked against', async () => {
    npy('ids.npy', '<i8', [5, 6]);
    const one = [inputs[1]!];
    const given = config('data: { kind: npy, path: ids.npy }');
    await openData(given, one, { dims: { T: 6 } });
    expect(await failure(() => openData(given, one, { dims: { T: 7 } }))).toMatch(/the shape \[1, 6\], the model input "ids" wants \[N, 7\]/); // prettier-ignore
  });

  it.each([
    [{ S: 1 }, /dims: the model has no free axis "S"; it has N, T \(the whole shape of an input will do too: x=</],
    [{ batch: 1 }, /no free axis "batch"/],
    [{ x: 3 }, /no free axis "x"/],
    [{ ido: [1, 2] }, /no input "ido" \(did you mean "ids"\?\); it has x, ids/],
    [{ x: [1, 4, 4] }, /dims: 1x4x4 does not fit the model input "x", which is \[N, 3, \?\]/],
  ])('names what there is: %j', async (dims, expected) => {
    expect(await failure(() => open(dims as Record<string, number>))).toMatch(expected);
  });
});
