import { readFile } from 'node:fs/promises';
import { runInNewContext } from 'node:vm';
import { evaluate, inspect, type SampleGiven } from '../../src/index.ts';
import type { ModelGiven } from '../../src/api/given.ts';
import { furnish, openWorkshop, type Workshop } from '../cli/workshop.ts';

let shop: Workshop;
beforeAll(async () => furnish((shop = await openWorkshop())));
afterAll(() => shop.remove());

const error = (work: Promise<unknown>): Promise<Error> =>
  work.then(
    () => new Error('none'),
    (reason: unknown) => reason as Error,
  );

describe('a model', () => {
  it('may be bytes in every form that JavaScript has', async () => {
    const file = await readFile(shop.path('model.onnx'));
    const buffer = new ArrayBuffer(file.length);
    new Uint8Array(buffer).set(file);
    const far = runInNewContext('new Uint8Array(n)', { n: file.length }) as Uint8Array;
    far.set(file);
    for (const model of [file, buffer, new Uint8Array(buffer), far, far.buffer as ArrayBuffer])
      expect((await inspect({ model })).params).toBe(132);
  });

  it.each<[string, unknown]>([
    ['DataView', new DataView(new ArrayBuffer(8))],
    ['Float32Array', new Float32Array(2)],
    ['Array', [1, 2]],
    ['Object', { graph: {} }],
    ['7', 7],
    ['null', null],
  ])('is no %s', async (name, model) => {
    const refused = error(inspect({ model: model as ModelGiven }));
    expect(await refused).toMatchObject({ code: 'model', message: `this is no model but ${name}` });
  });
});

describe('a label', () => {
  const sample = (label: unknown): SampleGiven => ({
    feeds: { x: { dims: [1, 3, 8, 8], data: new Float32Array(192) } },
    label: label as number,
  });
  const measured = (label: unknown) =>
    evaluate({ model: shop.path('model.onnx'), data: [sample(label)], latency: false });

  // An image of zeros is of class 3.
  it.each([3, 3n, [3], [3n], Int32Array.of(3), BigInt64Array.of(3n)])('may be %p', async (label) => {
    expect((await measured(label)).measurement.metrics).toMatchObject([{ name: 'top1', value: 100, samples: 1 }]);
  });

  it.each([
    ['"3"', '3'],
    ['1.5', 1.5],
    ['NaN', NaN],
    ['[object Object]', {}],
    ['null', null],
    ['of nothing', []],
    ['3000000000', 3_000_000_000n],
  ])('is refused where it is %s', async (text, label) => {
    expect(await error(measured(label))).toMatchObject({ message: `the label ${text} is not a class index` });
  });
});

it.each([
  { scale: 0 },
  { scale: NaN },
  { scale: Infinity },
  { scale: '0/255' },
  { scale: '1/0' },
  { std: 0 },
  { std: [1, 0, 1] },
  { std: Infinity },
  { mean: NaN },
])('refuses %p, which leaves nothing of an image', async (given) => {
  const { message } = await error(evaluate({ model: shop.path('model.onnx'), data: shop.path('images'), ...given }));
  expect(message).toMatch(/^(scale|std|mean)\b.*(must not be 0|number)/i);
  const [[key, value] = []] = Object.entries<unknown>(given);
  const data = { data: { kind: 'image-folder', path: shop.path('images') }, transforms: { scale: 1, [key!]: value } };
  expect((await error(evaluate({ model: shop.path('model.onnx'), data }))).message).toContain(`transforms.${key}`);
});
