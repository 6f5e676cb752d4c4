import type { Feeds } from '../../../src/data/types.ts';
import { makeNode } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import type { Pass } from '../../../src/passes/pass.ts';
import { runModel, testContext } from '../../helpers/context.ts';
import { snr } from '../../helpers/quality.ts';
import { beside, feeds, quantizers, tableOf, words } from './tied_models.ts';

describe('a table that only looks like the weight of a layer', () => {
  const data = tableOf(64);
  const table = makeTensor('table', 'float32', [words, 64], data);
  const square = makeTensor('table', 'float32', [64, 64], data.subarray(0, 64 * 64));
  const turned = Float32Array.from(data, (_, i) => data[(i % words) * 64 + Math.floor(i / words)] as number);
  const product = makeNode('MatMul', ['hidden', 'w'], ['y'], {}, { name: 'head' });
  const picture = makeNode('Reshape', ['hidden', 'picture'], ['picture_of_it']);
  /** [128, rows], of which the rows hold the table's numbers, again from the beginning where they end. */
  const long = (rows: number) =>
    makeTensor('w', 'float32', [128, rows], Float32Array.from({ length: 128 * rows }, (_, i) => data[((i % rows) * 128 + Math.floor(i / rows)) % data.length]!)); // prettier-ignore
  const shape = makeTensor('pairs', 'int64', [2], BigInt64Array.of(-1n, 128n));
  const pairs = makeNode('Reshape', ['hidden', 'pairs'], ['wide']);
  const head = makeNode('MatMul', ['wide', 'w'], ['y'], {}, { name: 'head' });
  const cases: Readonly<Record<string, Model>> = {
    'the same square tensor, of which the layer takes columns': beside(
      square,
      square,
      makeNode('MatMul', ['hidden', 'table'], ['y'], {}, { name: 'head' }),
    ),
    'other numbers, but one': beside(
      table,
      makeTensor('w', 'float32', [64, words], turned.map((v, i) => (i === 0 ? v : -v))), // prettier-ignore
      product,
    ),
    'the same numbers in other rows': beside(
      table,
      makeTensor('w', 'float32', [64, 16], data.subarray(0, 1024)),
      product,
    ),
    'the same numbers, more of them': beside(
      makeTensor('table', 'float32', [64, 64], Float32Array.from({ length: 64 * 64 }, (_, i) => data[(i % 64) * words + Math.floor(i / 64)]!)), // prettier-ignore
      makeTensor('w', 'float32', [64, words], data),
      product,
    ),
    'the same numbers one after another, in rows twice as long': beside(table, long(128), head, [pairs], [shape]),
    'the same numbers one after another, in as many rows twice as long': beside(
      table,
      long(256),
      head,
      [pairs],
      [shape],
    ),
    'the same numbers, as a kernel of one place': beside(
      table,
      makeTensor('w', 'float32', [words, 64, 1, 1], data),
      makeNode('Conv', ['picture_of_it', 'w'], ['y'], {}, { name: 'head' }),
      [picture],
    ),
    'the same numbers, with an axis more': beside(
      makeTensor('table', 'float32', [words, 64, 1], data),
      makeTensor('w', 'float32', [64, words], turned),
      makeNode('MatMul', ['squeezed', 'w'], ['y'], {}, { name: 'head' }),
      [makeNode('Flatten', ['hidden'], ['squeezed'], { axis: 2 })],
    ),
  };
  it.each(Object.keys(cases))('is looked up as it is: %s', async (name) => {
    const float = cases[name]!;
    const small = (seed: number): Feeds => {
      const ids = feeds(seed)['ids']!;
      return { ids: { ...ids, data: (ids.data as BigInt64Array).map((v) => v % 64n) } };
    };
    for (const [, pass, options] of quantizers) {
      const { model } = await (pass as unknown as Pass<object>).apply(
        float,
        pass.options.parse(options),
        testContext({ calibration: [small(1), small(2)], reference: float }),
      );
      const wanted = await runModel(float, small(3));
      for (const level of ['disabled', 'all'] as const) {
        const got = await runModel(model, small(3), level);
        for (const output of ['rows', 'y']) {
          expect(got[output]?.dims).toEqual(wanted[output]?.dims);
          // 7 bits and more, one scale for rows that differ 12 times in size.
          expect(snr(wanted[output]?.data as Float32Array, got[output]?.data as Float32Array)).toBeGreaterThan(25);
        }
      }
    }
  });
});
