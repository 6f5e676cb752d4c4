import { compress } from '../../src/api/compress.ts';
import { makeNode } from '../../src/graph/build.ts';
import { edit } from '../../src/graph/edit.ts';
import type { Model } from '../../src/graph/model.ts';
import { noise, smallConvNet } from '../helpers/models.ts';

const float = smallConvNet();
/** Its outputs are no numbers where the sum is negative. */
const logged = edit(float, (draft) => {
  const last = draft.nodes().at(-1)!;
  draft.update(last, { output: ['sum'] });
  draft.addNode(makeNode('Log', ['sum'], ['y']));
});
const data = Array.from({ length: 16 }, (_, i) => ({ feeds: { x: { dims: [1, 3, 8, 8], data: noise(i, 192) } } }));

async function stage(model: Model, policy: string) {
  const schedule = `version: 1\nquantizers: { q: { class: PostTrainLinearQuantizer, bits_weights: 2 } }\npolicies: [{ quantizer: { instance_name: q${policy.startsWith('fallback') ? `, ${policy} }` : ` }, ${policy}`}, epochs: [0] }]\n`;
  const { report } = await compress({ model, schedule, data, metrics: ['sqnr'], latency: false });
  return { ...report.stages[0]!, warning: report.warnings[0] };
}

describe('a stage judged by what the float model has no number for', () => {
  it.each([
    ['gate: { metric: sqnr, min: 25, on_fail: retry }', /own is none: nothing weaker was tried$/],
    ['gate: { metric: sqnr, min: 25, on_fail: undo }', /^sqnr is not a number$/],
    ['fallback: { metric: sqnr, min: 25 }', /own is none: nothing else was tried$/],
  ])('is tried once: %s', async (policy, why) => {
    const found = await stage(logged, policy);
    expect([found.verdict, found.attempts.length]).toEqual(['undone', 1]);
    expect(found.why).toMatch(why);
    expect(found.warning).toMatch(/^the float model's own outputs/);
  });

  it('is tried again where the float model has one', async () => {
    const { attempts } = await stage(float, 'gate: { metric: sqnr, min: 150, on_fail: retry }');
    expect(attempts.length).toBeGreaterThan(1);
  });
});
