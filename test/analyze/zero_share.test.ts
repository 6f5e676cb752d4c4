import { edit } from '../../src/graph/edit.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { withDecodedWeights } from '../../src/analyze/decoded.ts';
import { zeroShare } from '../../src/analyze/zero_share.ts';
import { encoder } from '../../src/passes/encode/encode.ts';
import { staticQuantizer } from '../../src/passes/quantize/static.ts';
import { floats, testContext } from '../helpers/context.ts';
import { noise, smallConvNet } from '../helpers/models.ts';

const half = edit(smallConvNet(), (draft) => {
  draft.replace(
    'conv2.weight',
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

  it('counts the zeros of packed weights as those of the tensors they decode to', async () => {
    const context = testContext({ calibration: [{ x: floats(noise(1, 384), [2, 3, 8, 8]) }] });
    const wide = edit(half, (draft) => {
      draft.replace(
        'conv1.weight',
        makeTensor(
          'conv1.weight',
          'float32',
          [8, 3, 15, 15],
          noise(6, 5400).map((w, i) => (i % 4 === 0 ? w : 0)),
        ),
      );
      const [conv] = draft.nodes();
      draft.setAttribute(conv!, 'kernel_shape', [15, 15]);
      draft.setAttribute(conv!, 'pads', [7, 7, 7, 7]);
    });
    const { model } = await staticQuantizer.apply(wide, staticQuantizer.options.parse({ bits_weights: 4 }), context);
    for (const plain of [wide, model]) {
      const packed = await encoder.apply(plain, encoder.options.parse({}), context);
      expect(packed.changed.length).toBeGreaterThan(0);
      expect(zeroShare(await withDecodedWeights(packed.model))).toBe(zeroShare(plain));
      expect(zeroShare(packed.model)).not.toBe(zeroShare(plain));
      expect(await withDecodedWeights(plain)).toBe(plain);
    }
  });
});
