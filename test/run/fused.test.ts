import { edit } from '../../src/graph/edit.ts';
import { initializers } from '../../src/graph/query.ts';
import { floatData, makeTensor } from '../../src/graph/tensor.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { staticQuantizer } from '../../src/passes/quantize/static.ts';
import { fusedText, unexplained, withFused } from '../../src/run/fused.ts';
import { layerReports, withOwnErrors } from '../../src/run/layers.ts';
import { ownErrors } from '../../src/analyze/own_error.ts';
import { saturates } from '../../src/runtime/processor.ts';
import type { LayerReport } from '../../src/run/report.ts';
import { floats } from '../helpers/context.ts';
import { noise } from '../helpers/models.ts';
import { never, quantized, samplesOf } from './support.ts';

const layer = (name: string, sqnr: number, own: number, inherited = Infinity, kernel = 'integer') =>
  ({ layer: name, sqnr, own, inherited, kernel }) as unknown as LayerReport;

describe('unexplained', () => {
  it('are layers that their own and their inherited error do not explain', () => {
    const all = [layer('fine', 50, 51), layer('conv1', 15.4, 51.2), layer('conv2', 16, 40, 47), layer('heir', 17, 40, 18)]; // prettier-ignore
    expect(unexplained(all).map((one) => one.layer)).toEqual(['conv1', 'conv2']);
  });

  it.each([
    ['errors that add up', layer('a', 17, 20, 20)],
    ['a layer that is good all the same', layer('a', 45, 90)],
    ['a float kernel', layer('a', 15, 50, Infinity, 'float')],
    ['a layer of which nothing is known', { layer: 'a', kernel: 'integer', sqnr: 3 } as unknown as LayerReport],
  ])('are none for %s', (_, one) => {
    expect(unexplained([one])).toEqual([]);
  });
});

describe('fusedText', () => {
  // All of one sign: sums of two products are as large as they can be.
  const positive = (seed: number, count: number) => noise(seed, count).map((v) => 1 - v * v * 0.1);
  const feeds = Array.from({ length: 16 }, (_, i) => ({ x: floats(positive(i, 256), [1, 16, 4, 4]) }));
  // A Conv has an integer kernel only with its output quantized: apart from that it is computed in float.
  const float = makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 16, 4, 4])],
    outputs: [makeValue('y', 'float32', ['N', 8, 4, 4])],
    initializers: [
      makeTensor('w1', 'float32', [32, 16, 1, 1], positive(1, 512)),
      makeTensor('w2', 'float32', [8, 32, 1, 1], positive(2, 256)),
    ],
    nodes: [
      makeNode('Conv', ['x', 'w1'], ['h'], {}, { name: 'one' }),
      makeNode('Relu', ['h'], ['r']),
      makeNode('Conv', ['r', 'w2'], ['y'], {}, { name: 'two' }),
    ],
  });
  const told = async (
    change: (made: Awaited<ReturnType<typeof quantized>>) => typeof float = ({ model }) => model,
    bits = 8,
  ) => {
    // prettier-ignore
    const made = await quantized(staticQuantizer, float, feeds, { bits_weights: bits });
    const [base, model] = [made.twin ?? float, change(made)];
    const reports = await layerReports(model, base, samplesOf(feeds), never);
    const layers = withOwnErrors(reports, await ownErrors(base, model, () => samplesOf(feeds)(16)));
    return { layers, text: await fusedText(layers, base, model, samplesOf(feeds), never) };
  };

  it('says that sums saturate where they do, on processors without VNNI', async () => {
    const { text } = await told();
    const expected = (await saturates()) ? /^the output of one is at .* with graph optimizations off: .* apart, and fused integer kernels saturate on this processor$/ : /^$/; // prettier-ignore
    expect(text ?? '').toMatch(expected);
  });

  it('says nothing of weights that cannot, nor of an output whose range is cut off', async () => {
    expect((await told(undefined, 7)).text).toBeUndefined();
    const { layers, text } = await told(({ model }) => {
      // The scale of the first layer's output, a fourth of what it was.
      const scale = model.graph.node.find(({ op_type, input }) => op_type === 'QuantizeLinear' && input[0] !== 'x')?.input[1] ?? ''; // prettier-ignore
      const old = initializers(model.graph).get(scale)!;
      return edit(model, (draft) => draft.replace(scale, makeTensor(scale, 'float32', [], Float32Array.of(floatData(old)[0]! / 4)))); // prettier-ignore
    }, 7);
    expect(unexplained(layers).map((one) => one.layer)).toContain('one');
    expect(text).toBeUndefined();
  });

  it('stands behind where the error enters', () => {
    expect(withFused(['where', 'why'], 'fused')).toEqual(['where', 'fused', 'why']);
    expect(withFused(['where'], undefined)).toEqual(['where']);
    expect(withFused([], 'fused')).toEqual(['fused']);
  });
});
