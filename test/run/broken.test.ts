import { makeNode } from '../../src/graph/build.ts';
import { edit } from '../../src/graph/edit.ts';
import { brokenAlone } from '../../src/run/broken.ts';
import { floats } from '../helpers/context.ts';
import { noise, smallConvNet } from '../helpers/models.ts';
import { never, samplesOf } from './support.ts';

const float = smallConvNet();
const feeds = Array.from({ length: 4 }, (_, i) => ({ x: floats(noise(i, 192), [1, 3, 8, 8]) }));
const tools = { calibration: samplesOf(feeds) };
/** The same, its output through another operator. */
const through = (op: string) =>
  edit(float, (draft) => {
    const last = draft.nodes().at(-1)!;
    draft.update(last, { output: ['sum'] });
    draft.addNode(makeNode(op, ['sum'], ['y']));
  });

describe('a model that is looked at alone', () => {
  it('is named where its outputs are no numbers', async () => {
    expect(await brokenAlone(through('Log'), "the model's", tools, never)).toEqual([
      expect.stringMatching(/^the model's own outputs hold NaN or infinity: .* preprocessing right\?$/),
    ]);
  });

  it.each(['Identity', 'Relu'])('is not where they are: %s', async (op) => {
    expect(await brokenAlone(through(op), "the model's", tools, never)).toEqual([]);
  });
});
