import { makeNode } from '../../src/graph/build.ts';
import { edit } from '../../src/graph/edit.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { given } from '../../src/util/must.ts';
import { diagnosed, network, samples, text, width } from './diagnosed.ts';

const loud = 7;

/** What `c` reads is multiplied by a vector with one large factor, which the weights of `c` take back. */
function scaled(factor: number) {
  return edit(network({ c: (row) => (row === loud ? 1 / factor : 1) }), (draft) => {
    const [last] = draft.nodes().filter(({ name }) => name === 'c');
    const vector = new Float32Array(width).fill(1);
    vector[loud] = factor;
    const factors = draft.add('factors', makeTensor('', 'float32', [1, width], vector));
    draft.addNode(makeNode('Mul', ['rb', factors], ['scaled'], {}, { name: 'scale' }));
    draft.update(given(last, 'c'), { input: ['scaled', 'w_c'] });
  });
}

describe('channels that are small beside others', () => {
  it('names the layer that counts on them, though the operator before it loses little of all that it gives', async () => {
    const { sentences, mended, quality } = await diagnosed(scaled(2000));
    expect(sentences[0]).toMatch(/^the first fall is at c: it inherits -?\d.* channels of "scaled" that are small/);
    expect(sentences[1]).toMatch(/^channel 7 of "scaled" reaches/);
    expect(await quality(text)).toBeLessThan(10);
    // 7 bits of weights are worth 30 dB and more.
    expect(await quality(mended ?? '')).toBeGreaterThan(25);
  });

  it('has nothing to say where channels are alike', async () => {
    expect((await diagnosed(scaled(1), samples())).sentences[0]).toMatch(/^no layer stands out/);
  });
});
