import type { Feeds } from '../../../src/data/types.ts';
import type { Model } from '../../../src/graph/model.ts';
import type { NodeProto } from '../../../src/graph/proto.ts';
import { makeModel, makeNode, makeValue, type ModelParts } from '../../../src/graph/build.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import type { Pass, PassResult } from '../../../src/passes/pass.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';

const size = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1);

/** A batch of noise for input `x`. */
export const batch = (...dims: number[]): Feeds => ({ x: floats(noise(11, size(dims), 2), dims) });

export const f32 = (name: string, dims: readonly number[], values: readonly number[]) =>
  makeTensor(name, 'float32', dims, Float32Array.from(values));
export const i64 = (name: string, values: readonly number[], dims = [values.length]) =>
  makeTensor(name, 'int64', dims, BigInt64Array.from(values, BigInt));

/** A BatchNormalization of arbitrary parameters, and its tensors. */
export function batchNorm(x: string, y: string, channels: number, attributes = {}) {
  const names = ['scale', 'shift', 'mean', 'variance'].map((what) => `${y}.${what}`);
  const tensors = names.map((name, i) => weight(name, [channels], 20 + i, 1));
  const variance = makeTensor(
    names[3] as string,
    'float32',
    [channels],
    noise(30, channels).map((v) => 0.1 + v * v),
  );
  return {
    node: makeNode('BatchNormalization', [x, ...names], [y], attributes, { name: `${y}_bn` }),
    tensors: [...tensors.slice(0, 3), variance],
  };
}

/** A model from `x` to `y` of opset 13 unless said. */
export function model(
  input: readonly (number | string)[],
  nodes: readonly NodeProto[],
  initializers: ModelParts['initializers'],
  more: Partial<ModelParts> = {},
): Model {
  return makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', input)],
    outputs: [makeValue('y', 'float32')],
    nodes,
    initializers: initializers ?? [],
    ...more,
  });
}

export const ops = (m: Model): string[] => m.graph.node.map((node) => node.op_type);

/** Applies a fold pass; the outputs before and after must agree to `digits` decimals. Every fold leaves the given model alone. */
export async function applied(
  pass: Pass<Record<string, never>>,
  before: Model,
  feeds: Feeds,
  digits = 4,
): Promise<PassResult> {
  const result = await pass.apply(before, {}, testContext({ calibration: [feeds] }));
  const wanted = await runModel(before, feeds, 'disabled');
  const got = await runModel(result.model, feeds, 'disabled');
  expect(Object.keys(got)).toEqual(Object.keys(wanted));
  for (const [name, tensor] of Object.entries(wanted)) {
    expect(got[name]?.dims).toEqual(tensor.dims);
    // A length beside the values: two empty results must not pass as equal.
    expect(tensor.data.length).toBeGreaterThan(0);
    Array.from(got[name]?.data as Float32Array, Number).forEach((value, i) =>
      expect(value).toBeCloseTo(Number(tensor.data[i]), digits),
    );
  }
  return result;
}
