import type { Batch } from '../../src/data/types.ts';
import { remembered } from '../../src/run/remembered.ts';
import { samplesOf, vectors } from './support.ts';

const ids = async (batches: AsyncIterable<Batch>): Promise<string[]> => {
  const found: string[] = [];
  for await (const { ids } of batches) found.push(...ids);
  return found;
};

describe('remembered', () => {
  it('makes batches once, and only those that were asked for to the end', async () => {
    const asked: number[] = [];
    const batches = remembered(() => samplesOf(vectors, asked)(3));
    for await (const _ of batches()) break;
    for (let i = 0; i < 3; i++) expect(await ids(batches())).toEqual(['0', '1', '2']);
    expect(asked).toEqual([3, 3]);
  });

  it.each([
    ['keeps 128 MiB', 2 ** 25, 1],
    ['makes what is larger anew', 2 ** 25 + 1, 2],
  ])('%s', async (_, count, times) => {
    let made = 0;
    const large = { ...vectors[0]!.x, data: new Float32Array(count) };
    const batches = remembered(async function* () {
      made++;
      yield { ids: ['a'], feeds: { x: large }, targets: [undefined], count: 1, size: 1 };
    });
    for (let i = 0; i < 2; i++) expect(await ids(batches())).toEqual(['a']);
    expect(made).toBe(times);
  });

  it('makes texts anew, whose size it does not know', async () => {
    let made = 0;
    const texts = { type: 'string', dims: [1], data: ['word'] } as const;
    const batches = remembered(async function* () {
      made++;
      for (const id of ['a', 'b']) yield { ids: [id], feeds: { x: texts }, targets: [undefined], count: 1, size: 1 };
    });
    for (let i = 0; i < 2; i++) expect(await ids(batches())).toEqual(['a', 'b']);
    expect(made).toBe(2);
  });
});
