import type { Feeds } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { layerFacts } from '../../src/graph/names.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { passes } from '../../src/passes/index.ts';
import { diagnose } from '../../src/run/diagnosis.ts';

import { bindSchedule } from '../../src/schedule/bind.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import type { ParsedSchedule } from '../../src/schedule/types.ts';
import { floats, runModel, testContext } from '../helpers/context.ts';
import { noise } from '../helpers/models.ts';
import { snr } from '../helpers/quality.ts';
import { never, samplesOf } from './support.ts';

export const width = 32;
type Scale = (row: number, column: number) => number;

/** Three layers of 32: `a`, Relu, `b`, Relu, `c`. What a scale does to one, another can take back. */
export function network(scales: { readonly a?: Scale; readonly b?: Scale; readonly c?: Scale } = {}): Model {
  const matrix = (name: 'a' | 'b' | 'c', seed: number) =>
    makeTensor(`w_${name}`, 'float32', [width, width], noise(seed, width * width, 0.3).map((v, i) => v * (scales[name]?.(Math.floor(i / width), i % width) ?? 1))); // prettier-ignore
  return makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', width])],
    outputs: [makeValue('y', 'float32', ['N', width])],
    initializers: [matrix('a', 1), matrix('b', 2), matrix('c', 3)],
    nodes: [
      makeNode('MatMul', ['x', 'w_a'], ['ha'], {}, { name: 'a' }),
      makeNode('Relu', ['ha'], ['ra']),
      makeNode('MatMul', ['ra', 'w_b'], ['hb'], {}, { name: 'b' }),
      makeNode('Relu', ['hb'], ['rb']),
      makeNode('MatMul', ['rb', 'w_c'], ['y'], {}, { name: 'c' }),
    ],
  });
}

export const samples = (change: (i: number, data: Float32Array) => void = () => undefined): Feeds[] =>
  Array.from({ length: 16 }, (_, i) => {
    const data = noise(50 + i, width);
    change(i, data);
    return { x: floats(data, [1, width]) };
  });

// 7 bits, which no processor saturates.
export const text = `version: 1
quantizers:
  q: { class: PostTrainLinearQuantizer, bits_weights: 7 }   # as asked
policies:
  - { quantizer: { instance_name: q }, epochs: [0] }
`;

export const parsed = (yaml: string): ParsedSchedule => parseSchedule(yaml, 'schedule.yaml', { passes });

/** Runs the stages of a schedule, as a run would. */
async function compressed(float: Model, feeds: readonly Feeds[], yaml: string) {
  let [model, twin]: [Model, Model | undefined] = [float, undefined];
  const { stages } = bindSchedule(parsed(yaml), { layers: layerFacts(float) });
  for (const { pass, options } of stages) {
    const result = await pass.apply(model, options, testContext({ calibration: feeds, reference: float, twin }));
    [model, twin] = [result.model, result.twin ?? twin];
  }
  return { model, twin, stages: stages.map(({ index }) => index) };
}

export async function diagnosed(
  float: Model,
  feeds = samples(),
  yaml = text,
  drop = 0,
  later?: readonly Feeds[],
  saturated?: boolean,
) {
  // prettier-ignore
  const { model, twin, stages } = await compressed(float, feeds, yaml);
  const top1 = { name: 'top1', value: 90 - drop, reference: 90, drop, dropInterval: 1, unit: '%' };
  const measurement = drop === 0 ? undefined : { metrics: [top1] };
  const state = { model, twin, plan: new Map(), measurement: measurement as never, stages };
  const asked: number[] = [];
  const told: [number, string][] = [];
  const tools = {
    calibration: samplesOf(feeds, asked),
    calibrationSamples: feeds.length,
    unseen: later && { samples: later.length, batches: samplesOf(later) },
    context: (stage: object) => testContext({ calibration: feeds, reference: float, ...stage }),
  };
  const progress = (done: number, what: string): void => void told.push([done, what]);
  const metrics = [{ name: 'top1' }] as never;
  const found = await diagnose(state, tools as never, { schedule: parsed(yaml), scheduleText: yaml, metrics, signal: never, progress, saturated }); // prettier-ignore
  const quality = async (again: string): Promise<number> => {
    const now = (await compressed(float, feeds, again)).model;
    const all = await Promise.all(feeds.slice(1, 5).map(async (one) => [(await runModel(float, one)).y?.data, (await runModel(now, one)).y?.data])); // prettier-ignore
    return Math.min(...all.map(([x, y]) => snr(x as Float32Array, y as Float32Array)));
  };
  const { sentences = [], schedule: mended, yaml: lines } = found?.diagnosis ?? {};
  return { model, twin, found, sentences, mended, lines, quality, asked, told };
}
