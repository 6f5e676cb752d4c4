import { batches } from '../../src/data/batch.ts';
import type { Batch, Dataset, Sample, Tensor } from '../../src/data/types.ts';

const tensor = (dims: readonly number[], ...data: number[]): Tensor => ({ type: 'float32', dims, data: Float32Array.from(data) }); // prettier-ignore
const sample = (id: string, x: Tensor): Sample => ({ id, feeds: { x } });
const dataset = (samples: readonly Sample[]): Dataset => ({
  info: { kind: 'npy', source: 'test', samples: samples.length, labelled: false, notes: [] },
  async *samples(limit) {
    yield* samples.slice(0, limit);
  },
});

async function all(source: AsyncIterable<Batch>): Promise<Batch[]> {
  const found: Batch[] = [];
  for await (const batch of source) found.push(batch);
  return found;
}
const shown = (list: readonly Batch[]): unknown[] =>
  list.map(({ ids, count, size, feeds }) => [ids.join(''), count, size, feeds['x']!.dims, [...(feeds['x']!.data as Float32Array)]]); // prettier-ignore

const five = dataset(['a', 'b', 'c', 'd', 'e'].map((id, i) => sample(id, tensor([1, 2], i, i + 10))));

describe('batches', () => {
  it('joins samples along axis 0 and ends with what is left', async () => {
    expect(shown(await all(batches(five, { batchSize: 2 })))).toEqual([
      ['ab', 2, 2, [2, 2], [0, 10, 1, 11]],
      ['cd', 2, 2, [2, 2], [2, 12, 3, 13]],
      ['e', 1, 1, [1, 2], [4, 14]],
    ]);
  });

  it('fills the last batch of a fixed size by repeating its last sample', async () => {
    const list = await all(batches(five, { batchSize: 2, fixedBatch: 3 }));
    expect(shown(list)).toEqual([
      ['abc', 3, 3, [3, 2], [0, 10, 1, 11, 2, 12]],
      ['de', 2, 3, [3, 2], [3, 13, 4, 14, 4, 14]],
    ]);
    expect(list[1]!.targets).toHaveLength(2);
  });

  it('takes at most `limit` samples', async () => {
    expect(shown(await all(batches(five, { batchSize: 2, limit: 3 }))).map((row) => (row as unknown[])[0])).toEqual(['ab', 'c']); // prettier-ignore
  });

  it('ends a batch where the shape changes', async () => {
    const mixed = dataset([sample('a', tensor([1, 1], 1)), sample('b', tensor([1, 2], 2, 3)), sample('c', tensor([1, 2], 4, 5))]); // prettier-ignore
    expect(shown(await all(batches(mixed, { batchSize: 8 })))).toEqual([
      ['a', 1, 1, [1, 1], [1]],
      ['bc', 2, 2, [2, 2], [2, 3, 4, 5]],
    ]);
  });

  it('shares an input without axes, and ends a batch where its value changes', async () => {
    const scalar = dataset([sample('a', tensor([], 7)), sample('b', tensor([], 7)), sample('c', tensor([], 8))]);
    expect(shown(await all(batches(scalar, { batchSize: 8 })))).toEqual([
      ['ab', 2, 2, [], [7]],
      ['c', 1, 1, [], [8]],
    ]);
  });

  it('leaves a sample alone that is a batch itself', async () => {
    const whole = dataset([sample('a', tensor([1, 1], 1)), sample('b', tensor([2, 1], 2, 3)), sample('c', tensor([1, 1], 4))]); // prettier-ignore
    expect(shown(await all(batches(whole, { batchSize: 8 })))).toEqual([
      ['a', 1, 1, [1, 1], [1]],
      ['b', 1, 1, [2, 1], [2, 3]],
      ['c', 1, 1, [1, 1], [4]],
    ]);
  });

  it('joins text and 64-bit integers', async () => {
    const make = (id: string, n: bigint): Sample => ({
      id,
      feeds: {
        t: { type: 'string', dims: [1, 1], data: [id] },
        n: { type: 'int64', dims: [1], data: BigInt64Array.of(n) },
      },
    });
    const [batch] = await all(batches(dataset([make('a', 1n), make('b', 2n)]), { batchSize: 2, fixedBatch: 3 }));
    expect(batch!.feeds['t']).toEqual({ type: 'string', dims: [3, 1], data: ['a', 'b', 'b'] });
    expect(batch!.feeds['n']).toEqual({ type: 'int64', dims: [3], data: BigInt64Array.of(1n, 2n, 2n) });
  });

  it('with reuse gives the same, from samples that are written over, and two batches at a time stay whole', async () => {
    const x = tensor([1, 2], 0, 0);
    const overwritten: Dataset = {
      ...five,
      async *samples() {
        for (let i = 0; i < 7; i++) {
          (x.data as Float32Array).set([i, i + 10]);
          yield sample(String(i), x);
        }
        (x.data as Float32Array).fill(-1);
      },
    };
    const found: unknown[] = [];
    const places = new Set<ArrayBufferLike>();
    let last: Batch | undefined;
    for await (const batch of batches(overwritten, { batchSize: 2, reuse: true })) {
      // The one before is still there.
      if (last) found.push(shown([last])[0]);
      places.add((batch.feeds['x']!.data as Float32Array).buffer);
      last = batch;
    }
    found.push(shown([last!])[0]);
    expect(found).toEqual([
      ['01', 2, 2, [2, 2], [0, 10, 1, 11]],
      ['23', 2, 2, [2, 2], [2, 12, 3, 13]],
      ['45', 2, 2, [2, 2], [4, 14, 5, 15]],
      ['6', 1, 1, [1, 2], [6, 16]],
    ]);
    expect(places.size).toBe(2);
  });

  it('without reuse keeps every batch and every sample as it was', async () => {
    const list = await all(batches(five, { batchSize: 1 }));
    const [first] = await all(batches(five, { batchSize: 1, limit: 1 }));
    (first!.feeds['x']!.data as Float32Array).fill(9);
    expect(shown(list)[0]).toEqual(['a', 1, 1, [1, 2], [0, 10]]);
    expect(new Set(list.map(({ feeds }) => (feeds['x']!.data as Float32Array).buffer)).size).toBe(5);
  });
});
