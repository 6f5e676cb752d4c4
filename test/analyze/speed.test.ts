import { slowRemark } from '../../src/analyze/speed.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Latency } from '../../src/runtime/time.ts';

const at = (batch: number, ratio: number, spread = 0.01, floatMilliseconds = 5): Latency => ({
  batch,
  milliseconds: floatMilliseconds / ratio,
  floatMilliseconds,
  ratio,
  ratioLow: ratio - spread,
  ratioHigh: ratio + spread,
  rounds: 20,
});
const integer = (layer: string, why = 'runs as QLinearConv') =>
  ({ layer, op: 'Conv', kernel: 'integer', why }) as const;
const float = (layer: string, why: string) => ({ layer, op: 'Conv', kernel: 'float', why }) as const;

/** Convolutions `a` (plain) and `dw` (depthwise); what they read does not matter here. */
const model = makeModel({
  opset: 13,
  ir: 8,
  inputs: [makeValue('x', 'float32', ['N', 4, 8, 8])],
  outputs: [makeValue('z', 'float32', ['N', 4, 8, 8])],
  initializers: [],
  nodes: [
    makeNode('Conv', ['x', 'w'], ['y'], {}, { name: 'a' }),
    makeNode('Conv', ['y', 'v'], ['z'], { group: 4 }, { name: 'dw' }),
  ],
});

describe('slowRemark', () => {
  it('has nothing to say of a model that is faster at every batch size, or was not timed', () => {
    expect(slowRemark([at(1, 1.2), at(32, 2)], [float('a', 'some reason')], model)).toBeUndefined();
    expect(slowRemark([], [integer('a')], model)).toBeUndefined();
  });

  it('speaks of the batch sizes that are slow, and tells slower from not surely faster', () => {
    const text = slowRemark([at(1, 0.85), at(8, 1.01, 0.04), at(32, 1.5)], [integer('a')], model) ?? '';
    expect(text).toContain('the model is slower than float: 0.85× (0.84× to 0.86×) at batch 1;');
    expect(text).toContain('not surely faster than float: 1.01× (0.97× to 1.05×) at batch 8;');
    expect(text).not.toContain('batch 32');
    expect(slowRemark([at(1, 0.85)], [integer('a')], model, 'the reference')).toContain(
      'slower than the reference: 0.85×',
    );
  });

  it('does not take a faster quarter of the pairs for a faster model', () => {
    expect(slowRemark([at(1, 1.1, 0.15)], [integer('a')], model)).toContain('not surely faster');
    // The same model twice can be 2 % apart.
    expect(slowRemark([at(1, 1.015, 0.005)], [integer('a')], model)).toContain('not surely faster');
  });

  it('names the layers in float with their reasons, the most frequent first', () => {
    const layers = [
      integer('a'),
      float('b', 'is not quantized'),
      float('c', 'there are no integer kernels for uint16'),
      float('d', 'there are no integer kernels for uint16'),
    ];
    expect(slowRemark([at(1, 0.9)], layers, model)).toContain(
      'because 3 of 4 layers run in float (2: there are no integer kernels for uint16; 1: is not quantized)',
    );
    const same = [float('b', 'is not quantized'), float('c', 'is not quantized')];
    expect(slowRemark([at(1, 0.9)], same, model)).toContain('2 of 2 layers run in float (is not quantized)');
  });

  it('names depthwise convolutions in integer, weights unpacked at every run, and models too short to gain', () => {
    const text = slowRemark([at(1, 0.9, 0.01, 0.05)], [integer('a'), integer('dw'), integer('m', 'runs as MatMulNBits')], model); // prettier-ignore
    expect(text).toContain('1 of 3 layers are depthwise or grouped convolutions');
    expect(text).toContain('1 of 3 layers run as MatMulNBits, which unpacks its weights at every run');
    expect(text).toContain('the float model takes 0.050 ms a run');
  });

  it('says where it knows no reason', () => {
    expect(slowRemark([at(1, 0.9)], [integer('a')], model)).toContain('; every layer runs in integer, so it is');
    expect(slowRemark([at(1, 0.9)], [], model)).toContain('the reason is not known');
  });
});
