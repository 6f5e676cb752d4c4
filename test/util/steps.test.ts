import { breathing, finished, portion, type Steps } from '../../src/util/steps.ts';

/** So many steps, each of which takes longer than others are kept waiting. */
function* slow(count: number): Steps<string> {
  for (let i = 1; i <= count; i++) {
    for (const end = performance.now() + 60; performance.now() < end;);
    yield i / count;
  }
  return 'done';
}

/** Steps that yield these shares. */
function* at(...shares: number[]): Steps<number> {
  yield* shares;
  return shares.length;
}

describe('steps', () => {
  it('have a result without a pause', () => {
    expect(finished(at(0.5, 1))).toBe(2);
  });

  it('are a part of longer ones', () => {
    const steps = portion(at(0, 0.5, 1), 0.2, 0.6);
    expect([...steps].map((share) => share.toFixed(3))).toEqual(['0.200', '0.400', '0.600']);
    expect(finished(portion(at(0, 1), 0.2, 0.6))).toBe(2);
  });

  it('give others their turn, and say how far they are', async () => {
    const seen: (number | string)[] = [];
    setTimeout(() => seen.push('timer'), 0);
    const { signal } = new AbortController();
    expect(await breathing(slow(2), { signal, progress: (done) => seen.push(done) })).toBe('done');
    expect(seen.filter((one) => one !== 'timer')).toEqual([0.5, 1]);
    expect(seen).toContain('timer');
  });

  it('end where they are cancelled meanwhile', async () => {
    const cancel = new AbortController();
    const seen: number[] = [];
    setTimeout(() => cancel.abort(new Error('enough')), 0);
    const work = breathing(slow(3), { signal: cancel.signal, progress: (done) => seen.push(done) });
    await expect(work).rejects.toThrow('enough');
    expect(seen).toHaveLength(1);
  });
});
