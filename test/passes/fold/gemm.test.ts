import fc from '../../helpers/fc.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { productOf } from '../../../src/graph/ops.ts';
import { foldEinsum } from '../../../src/passes/fold/einsum.ts';
import { foldGemm } from '../../../src/passes/fold/gemm.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { layoutCases, layoutNet } from '../../helpers/layouts.ts';
import { noise, weight } from '../../helpers/models.ts';
import { snr } from '../../helpers/quality.ts';

// float32 keeps some 140 dB; a number rounded once more costs little of it.
const exact = 110;

describe('fold/gemm', () => {
  it('gives every form of Gemm one that kernels take, and the same numbers', async () => {
    const gemms = layoutCases.filter(({ op }) => op === 'Gemm');
    await fc.assert(
      fc.asyncProperty(gemms, async (given) => {
        const model = layoutNet(given);
        const { model: folded } = await foldGemm.apply(model, {}, testContext());
        for (const node of folded.graph.node.filter(({ op_type }) => op_type === 'Gemm')) {
          expect(productOf(node)?.quirk(node)).toBeUndefined();
          const c = folded.graph.initializer.find(({ name }) => name === node.input[2]);
          expect(c?.dims.length ?? 1).toBe(1);
        }
        const x = { x: floats(noise(7, 64), [8, 8]) };
        const [before, after] = [(await runModel(model, x))['y'], (await runModel(folded, x))['y']];
        expect(snr(before?.data as Float32Array, after?.data as Float32Array)).toBeGreaterThan(exact);
      }),
      { numRuns: 60, seed: 5 },
    );
  });
});

describe('fold/einsum', () => {
  const einsum = (equation: string, x: readonly number[], w: readonly number[], left = false) =>
    makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', x)],
      outputs: [makeValue('y', 'float32')],
      initializers: [weight('w', w, 3)],
      nodes: [makeNode('Einsum', left ? ['w', 'x'] : ['x', 'w'], ['y'], { equation }, { name: 'layer' })],
    });

  it.each([
    ['btd,de->bte', [2, 3, 4], [4, 5], false],
    ['...d,ed->...e', [2, 3, 4], [5, 4], false],
    ['ij,jk->ik', [3, 4], [4, 5], false],
    ['btd,dhk->bthk', [2, 3, 4], [4, 2, 5], false],
    ['btd,dkh->bthk', [2, 3, 4], [4, 5, 2], false],
    ['bthk,hkd->btd', [2, 3, 2, 5], [2, 5, 4], false],
    ['bthk,dkh->btd', [2, 3, 2, 5], [4, 5, 2], false],
    ['ed,btd->bte', [2, 3, 4], [5, 4], true],
  ] as const)('makes a MatMul of %s', async (equation, x, w, left) => {
    const model = einsum(equation, x, w, left);
    const { model: folded, changed } = await foldEinsum.apply(model, {}, testContext());
    expect(changed.map(({ layer }) => layer)).toEqual(['layer']);
    expect(folded.graph.node.map(({ op_type }) => op_type)).not.toContain('Einsum');
    const count = x.reduce<number>((a, b) => a * b, 1);
    const feeds = { x: floats(noise(1, count), x) };
    const [before, after] = [(await runModel(model, feeds))['y'], (await runModel(folded, feeds))['y']];
    expect(after?.dims).toEqual(before?.dims);
    expect(snr(before?.data as Float32Array, after?.data as Float32Array)).toBeGreaterThan(exact);
  });

  it.each([
    ['btd,td->btd', [2, 3, 4], [3, 4]],
    ['bij,ij->b', [2, 3, 4], [3, 4]],
    ['bdt,de->bte', [2, 4, 3], [4, 5]],
    ['...hk,hkd->...d', [2, 2, 5], [2, 5, 4]],
  ] as const)('leaves %s, with the reason', async (equation, x, w) => {
    const { changed, skipped } = await foldEinsum.apply(einsum(equation, x, w), {}, testContext());
    expect(changed).toEqual([]);
    expect(skipped).toEqual([
      { layer: 'layer', text: `Einsum ${equation} is no product of the last axes with a matrix` },
    ]);
  });
});
