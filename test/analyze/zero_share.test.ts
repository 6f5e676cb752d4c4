import { edit } from '../../src/graph/edit.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { zeroShare } from '../../src/analyze/zero_share.ts';
import { staticQuantizer } from '../../src/passes/quantize/static.ts';
import { floats, testContext } from '../helpers/context.ts';
import { noise, smallConvNet } from '../helpers/models.ts';

const half = edit(smallConvNet(), (draft) => {
  draft.setInitializer(
    makeTensor(
      'conv2.weight',
      'float32',
      [8, 8, 3, 3],
      noise(5, 576).map((w, i) => (i % 2 === 0 ? 0 : w)),
    ),
  );
});
// Weights of rank 2 and more: 216 + 576 + 72 + 40 = 904, of which 288 are zero.
const expected = 288 / 904;

describe('zeroShare', () => {
  it('counts zeros of weights, not of biases', () => {
    expect(zeroShare(smallConvNet())).toBe(0);
    expect(zeroShare(half)).toBeCloseTo(expected, 10);
  });

  it('counts codes of zero in a quantized model', async () => {
    const context = testContext({ calibration: [{ x: floats(noise(1, 384), [2, 3, 8, 8]) }] });
    const { model } = await staticQuantizer.apply(half, staticQuantizer.options.parse({}), context);
    // Small weights round to zero too, so the share is at least that of the float model, and not by much at 8 bits.
    expect(zeroShare(model)).toBeGreaterThanOrEqual(expected);
    expect(zeroShare(model)).toBeLessThan(expected + 0.02);
  });
});
