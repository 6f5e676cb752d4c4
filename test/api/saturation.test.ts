import { analyze } from '../../src/api/analyze.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { analysisText } from '../../src/report/analysis.ts';
import { plain } from '../../src/report/paint.ts';
import { saturates } from '../../src/runtime/processor.ts';
import { noise } from '../helpers/models.ts';

/** Every product is near the largest that 8 bits give. */
const loud = makeModel({
  opset: 13,
  ir: 8,
  inputs: [makeValue('x', 'float32', ['N', 32])],
  outputs: [makeValue('y', 'float32', ['N', 16])],
  initializers: [makeTensor('w', 'float32', [32, 16], noise(1, 512, 0.1).map((v) => 1 + v))], // prettier-ignore
  nodes: [makeNode('MatMul', ['x', 'w'], ['y'], {}, { name: 'fc' })],
});
const data = Array.from({ length: 16 }, (_, i) => ({ feeds: { x: { dims: [1, 32], data: noise(10 + i, 32, 0.1).map((v) => 1 + v) } } })); // prettier-ignore

describe('analyze', () => {
  it('says where sums of 8-bit products saturate, first and at the sum that is off', async () => {
    const report = await analyze({ model: loud, data });
    const here = await saturates();
    const text = analysisText(report, plain, 100);
    expect(report.warnings.some((one) => one.includes('no VNNI'))).toBe(here);
    expect(text.startsWith('! `--schedule int8`: the outputs have an SQNR of')).toBe(here);
    const whole = report.compositions.find(({ weights, activations }) => weights === 8 && activations === 8);
    expect(whole?.why?.startsWith('this processor has no VNNI') ?? false).toBe(here);
    const seven = report.compositions.filter(({ weights }) => weights === 7);
    expect(seven.map(({ why }) => why ?? '').join('')).not.toContain('VNNI');
    expect(report.diagnosis?.sentences.some((one) => one.includes('saturate')) ?? false).toBe(here);
  });
});
