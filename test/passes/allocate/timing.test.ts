import type { Feeds } from '../../../src/data/types.ts';
import { intsAttribute } from '../../../src/graph/attribute.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { isOp } from '../../../src/graph/query.ts';
import { latencyAllocator } from '../../../src/passes/allocate/latency.ts';
import { plannedLayers, type PlannedLayer } from '../../../src/passes/allocate/layers.ts';
import { openProbe } from '../../../src/passes/allocate/probe.ts';
import { roundLayer, withRounded } from '../../../src/passes/allocate/rounded.ts';
import { layerTimes, type LayerTimes } from '../../../src/passes/allocate/timing.ts';
import type { PassContext } from '../../../src/passes/pass.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';
import { optimizedOps, snr } from '../../helpers/quality.ts';

/** A clock that only what is computed moves, so that nothing here depends on the time that things take. */
let clock = 0;
const now = performance.now.bind(performance);
beforeEach(() => {
  clock = 0;
  performance.now = () => clock;
});
afterEach(() => {
  performance.now = now;
});

type Kind = keyof LayerTimes;
/** Which form of a layer a graph times; undefined where it is no such graph. */
function kindOf(model: Model): Kind | undefined {
  if (!model.graph.node.some((node) => node.name === 'layer')) return undefined;
  if (!model.graph.node.some((node) => isOp(node, 'QuantizeLinear'))) return 'alone';
  return model.graph.initializer.some((tensor) => tensor.name === 'w_codes') ? 'integer' : 'float';
}
const layerNode = (model: Model) => model.graph.node.find((node) => node.name === 'layer');

const pads = { kernel_shape: [3, 3], pads: [1, 1, 1, 1], dilations: [1, 1] };
/** Three Convs of one shape, two of them alike, and one that differs in an attribute alone. */
const net = (): Model =>
  makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 4, 6, 6])],
    outputs: [makeValue('y', 'float32')],
    initializers: [
      ...[weight('w1', [4, 4, 3, 3], 1), weight('w2', [4, 4, 3, 3], 2), weight('w3', [4, 4, 3, 3], 3)],
      ...[weight('b', [4], 4), weight('fc', [4, 5], 5), weight('fc2', [5, 6], 6)],
    ],
    nodes: [
      makeNode('Conv', ['x', 'w1', 'b'], ['a'], pads, { name: 'first' }),
      makeNode('Conv', ['a', 'w2'], ['c'], pads, { name: 'second' }),
      makeNode(
        'Conv',
        ['c', 'w3', 'b'],
        ['d'],
        { kernel_shape: [3, 3], pads: [2, 2, 2, 2], dilations: [2, 2] },
        { name: 'dilated' },
      ),
      makeNode('GlobalAveragePool', ['d'], ['p']),
      makeNode('Flatten', ['p'], ['f']),
      makeNode('MatMul', ['f', 'fc'], ['g'], {}, { name: 'matmul' }),
      makeNode('MatMul', ['g', 'fc2'], ['y'], {}, { name: 'other matmul' }),
    ],
  });
const sample: Feeds = { x: floats(noise(1, 144), [1, 4, 6, 6]) };
const rules = { first: null, last: null, limits: {}, together: [] as string[], scales: 'mse', widths: null } as const;
const layersOf = async (model: Model, feeds: Feeds): Promise<readonly PlannedLayer[]> =>
  plannedLayers(model, await testContext({ calibration: [feeds] }).shapes(model), {
    ...rules,
    quantizer: 'PostTrainLinearQuantizer',
  }).layers;

/** Times layers on the clock above: `take` says how long the n-th run of a form of a layer is. */
async function timed(seconds: number, take: (kind: Kind, run: number, model: Model) => number, together?: boolean) {
  const runs: { kind: Kind; model: Model; feeds: Feeds }[] = [];
  const said: [number, string | undefined][] = [];
  const given = testContext({
    calibration: [sample],
    progress: (done, doing) => said.push([done, doing]),
    compute: (model, feeds) => {
      const kind = kindOf(model) as Kind;
      runs.push({ kind, model, feeds });
      clock += take(kind, runs.filter((r) => r.model === model).length, model);
      return Promise.resolve({});
    },
  });
  const layers = await layersOf(net(), sample);
  const [first, second] = layers as [PlannedLayer, PlannedLayer];
  const asked = together ? [{ ...first, nodes: ['first', 'second', 'dilated'] }, second] : layers;
  const times = await layerTimes(given, net(), asked, seconds);
  return { times, runs, said };
}
const usual: LayerTimes = { integer: 2, float: 5, alone: 3 };

describe('the time of a layer', () => {
  it('is the median of what it takes in turns, after a run that does not count, of equal layers once', async () => {
    // A first run that is slow, and more than a few that are disturbed.
    const take = (kind: Kind, run: number): number => (run === 1 ? 1000 : run % 3 === 0 ? 90 : usual[kind]);
    const { times, runs, said } = await timed(1e9, take);
    expect(times).toEqual([usual, usual, usual, usual, usual]);
    // Four layers differ; 60 readings are enough.
    expect(new Set(runs.map((r) => r.model)).size).toBe(12);
    expect(runs).toHaveLength(4 * (3 + 60 * 3));
    expect(runs.slice(0, 12).map((r) => r.kind)).toEqual(
      'integer float alone integer float alone alone float integer integer float alone'.split(' '),
    );
    expect(said).toEqual(
      ['first', 'second', 'dilated', 'matmul', 'other matmul'].map((name, i) => [i / 5, `timing ${name}`]),
    );
  });

  it('takes no more time than it may, but for three readings of each', async () => {
    const short = await timed(1e-6, (kind) => usual[kind]);
    expect(short.times[0]).toEqual(usual);
    expect(short.runs).toHaveLength(4 * (3 + 3 * 3));
    // A turn is 10 ms, and each of four layers has 100 ms.
    const { runs } = await timed(0.4, (kind) => usual[kind]);
    expect(runs).toHaveLength(4 * (3 + 10 * 3));
  });

  it('is the sum over the nodes that share a width', async () => {
    const { times } = await timed(
      1e-6,
      (kind, _, model) => {
        const own = layerNode(model);
        return own && intsAttribute(own, 'dilations')?.[0] === 2 ? 1 : usual[kind];
      },
      true,
    );
    expect(times).toEqual([{ integer: 5, float: 11, alone: 7 }, usual]);
  });

  it('is taken of the layer itself, on the shapes of a sample, with integers or floats around it', async () => {
    const { runs } = await timed(1e-6, () => 1);
    const models = [...new Map(runs.map((r) => [r.model, r])).values()];
    expect(models.map(({ feeds }) => [feeds['x']?.type, feeds['x']?.dims])).toEqual(
      [
        [1, 4, 6, 6],
        [1, 4, 6, 6],
        [1, 4],
        [1, 5],
      ].flatMap((dims) => [
        ['uint8', dims],
        ['uint8', dims],
        ['float32', dims],
      ]),
    );
    for (const { model, kind, feeds } of models) {
      const op = layerNode(model)?.op_type as string;
      const ops = await optimizedOps(model);
      if (kind === 'integer') {
        expect(ops).toMatchObject({ [op === 'Conv' ? 'QLinearConv' : 'QLinearMatMul']: 1 });
        expect(Object.keys(ops).some((name) => name.endsWith('eLinear'))).toBe(false);
      } else {
        const around = ['DequantizeLinear', op, ...(op === 'Conv' ? ['Max'] : []), 'QuantizeLinear'];
        expect(model.graph.node.map((node) => node.op_type)).toEqual(kind === 'alone' ? [op] : around);
        // onnxruntime quantizes the weights of a Conv between integers by itself, where nothing keeps it from that.
        expect(ops).toHaveProperty(op);
        expect(Object.keys(ops).filter((name) => /^QLinear|^QGemm/.test(name))).toEqual([]);
      }
      expect(model.graph.output[0]?.type?.tensor_type?.elem_type).toBe(kind === 'alone' ? 1 : 2);
      // It computes: the inputs are 0 to 255 of a scale of 1/64, as uint8 or as what that means in float.
      const got = (await runModel(model, feeds, 'disabled'))['y'];
      if (kind === 'alone') expect(Math.max(...(feeds['x']?.data as Float32Array))).toBeLessThanOrEqual(255 / 64);
      expect(new Set(got?.data as Float32Array).size).toBeGreaterThan(1);
    }
    // Form by form the same layer: float between integers is the layer on the same numbers, its output rounded to 1/16.
    const [integer, float, alone] = models as [(typeof models)[0], (typeof models)[0], (typeof models)[0]];
    const [a, b] = [await runModel(alone.model, alone.feeds), await runModel(float.model, float.feeds)];
    const clipped = (a['y']?.data as Float32Array).map((v) => Math.min(255 / 16, Math.max(0, v)));
    (b['y']?.data as Uint8Array).forEach((code, i) =>
      expect(Math.abs(code / 16 - (clipped[i] as number))).toBeLessThanOrEqual(1 / 32 + 1e-5),
    );
    // With weights of 8 bits, and a bias that only takes its time.
    const c = (await runModel(integer.model, integer.feeds, 'disabled'))['y']?.data as Uint8Array;
    expect(
      snr(
        clipped,
        Float32Array.from(c, (code) => code / 16),
      ),
    ).toBeGreaterThan(0);
  });

  it('ends when the run is cancelled', async () => {
    const stop = new AbortController();
    const given = testContext({
      calibration: [sample],
      signal: stop.signal,
      compute: () => (stop.abort(new Error('cancelled')), Promise.resolve({})),
    });
    await expect(layerTimes(given, net(), await layersOf(net(), sample), 1)).rejects.toThrow('cancelled');
  });
});

describe('widths by latency', () => {
  const images: Feeds = { x: floats(noise(1, 4 * 192), [4, 3, 8, 8]) };
  /** Milliseconds of conv1, conv2, dw and fc: integers are faster in the first two. */
  const table: Record<string, LayerTimes> = {
    conv1: { integer: 2, float: 5, alone: 4 },
    conv2: { integer: 3, float: 9, alone: 8 },
    dw: { integer: 4, float: 2, alone: 1 },
    fc: { integer: 1, float: 1.5, alone: 0.5 },
  };
  const names = Object.keys(table);
  const parameters = [216, 576, 72, 40];
  const whole = 13.5;
  const context = (cache?: Map<string, unknown>): PassContext => {
    const plain = testContext({ calibration: [images] });
    return testContext({
      calibration: [images],
      ...(cache ? { cache } : {}),
      compute: (model, feeds) => {
        const kind = kindOf(model);
        if (kind === undefined) return plain.compute(model, feeds);
        const own = layerNode(model);
        const channels = feeds['x']?.dims[1];
        const name =
          own?.op_type === 'Gemm'
            ? 'fc'
            : channels === 3
              ? 'conv1'
              : own && intsAttribute(own, 'strides')
                ? 'dw'
                : 'conv2';
        clock += table[name]?.[kind] ?? NaN;
        return Promise.resolve({});
      },
    });
  };
  const allocate = (options: object, cache?: Map<string, unknown>) =>
    latencyAllocator.apply(
      smallConvNet(),
      latencyAllocator.options.parse({ seconds: 0.001, samples: 4, ...options }),
      context(cache),
    );
  const widths = [3, 5, 8];
  interface Way {
    readonly bits: number | undefined;
    readonly time: number;
    readonly size: number;
    readonly damage: number;
  }
  async function waysOf(): Promise<Way[][]> {
    const model = smallConvNet();
    const probe = await openProbe(testContext({ calibration: [images] }), model, 4);
    const result: Way[][] = [];
    for (const [i, layer] of (await layersOf(model, images)).entries()) {
      const { integer, float } = table[layer.name] as LayerTimes;
      const [size, row] = [parameters[i] as number, [] as Way[]];
      for (const bits of widths) {
        const damage = await probe.noise(withRounded(model, new Map([[layer, roundLayer(layer, bits, 'mse')]])));
        row.push({ bits, time: integer, size: size * bits, damage });
      }
      result.push([...row, { bits: undefined, time: float, size: size * 32, damage: 0 }]);
    }
    return result;
  }
  const sums = (ways: readonly Way[]) => ({
    time: ways.reduce((s, w) => s + w.time, 0),
    size: ways.reduce((s, w) => s + w.size, 0),
    damage: ways.reduce((s, w) => s + w.damage, 0),
  });
  const all = (ways: readonly Way[][]): Way[][] =>
    ways.reduce<Way[][]>((lists, own) => lists.flatMap((list) => own.map((way) => [...list, way])), [[]]);

  it('are a choice that no other beats in damage with its time and size', async () => {
    const ways = await waysOf();
    for (const options of [
      {},
      { latency: 2 },
      { latency: 0.75 },
      { latency: 0.9, budget: { weights: 6 } },
      { latency: 1, float: false },
      { budget: { weights: 4 } },
    ]) {
      const { plan, changed, notes, preview } = await allocate({ widths, ...options });
      const bits = names.map((name) => {
        const format = plan?.get(name)?.weights;
        return format?.kind === 'int' ? format.bits : undefined;
      });
      const chosen = ways.map((list, i) => list.find((way) => way.bits === bits[i]) as Way);
      const got = sums(chosen);
      const may = all(options.float === false ? ways.map((list) => list.slice(0, -1)) : ways)
        .map(sums)
        .filter((s) => s.size <= (options.budget?.weights ?? 32) * 904);
      const limit = options.latency === undefined ? Math.min(...may.map((s) => s.time)) : options.latency * whole;
      expect(got.time).toBeLessThanOrEqual(limit + 1e-9);
      expect(got.size).toBeLessThanOrEqual((options.budget?.weights ?? 32) * 904);
      for (const s of may)
        if (s.time <= got.time && s.size <= got.size) expect(s.damage).toBeGreaterThanOrEqual(got.damage * (1 - 1e-9));
      const dB = (noise: number) => (noise === 0 ? '∞' : (-10 * Math.log10(noise)).toFixed(1));
      expect(notes?.[0]).toBe(
        `layers take ${((100 * got.time) / whole).toFixed(0)} % of their time in float at batch 1, ${(got.size / 904).toFixed(2)} bits a weight; expected at the output ${dB(got.damage)} dB from weights alone`,
      );
      expect(notes?.[1]).toBe(
        `${chosen.reduce((sum, way) => sum + Math.ceil(way.size / 8), 0)} bytes of packed weights`,
      );
      changed.forEach(({ layer, text }, i) => {
        const { integer, float } = table[layer] as LayerTimes;
        const own = chosen[i] as Way;
        expect(text).toBe(
          `${own.bits === undefined ? 'float' : `${own.bits} bits`}: ${parameters[i]} parameters; integer ${1000 * integer} µs, float between integers ${1000 * float} µs; at the output ${dB(own.damage)} dB`,
        );
      });
      const probe = await openProbe(testContext({ calibration: [images] }), smallConvNet(), 4);
      // What is kept in float is not rounded in what the gate judges.
      expect((await probe.noise(preview as Model)) === 0).toBe(bits.every((b) => b === undefined));
    }
  });

  it('may be weakened where no latency was asked for, to what cannot be had, which is the fastest then', async () => {
    const cache = new Map<string, unknown>();
    const first = await allocate({}, cache);
    expect((await allocate({ latency: 0.3 }, cache)).plan).toEqual(first.plan);
    expect((await allocate({ latency: 0.75 }, cache)).plan).toEqual((await allocate({ latency: 0.75 })).plan);
    const other = new Map<string, unknown>();
    await allocate({ latency: 0.75 }, other);
    await expect(allocate({ latency: 0.3 }, other)).rejects.toThrow('cannot be reached');
  });

  it('say nothing of packing where all is 8 bits, and which latency cannot be had', async () => {
    expect((await allocate({ widths: [8] })).notes).toHaveLength(1);
    // The fastest are 2 + 3 + 2 + 1 of 13.5.
    await expect(allocate({ latency: 0.59 })).rejects.toMatchObject({
      code: 'schedule',
      message: 'a latency of 7.965 ms cannot be reached: the fastest take 8.000 ms',
      hint: expect.stringContaining('float layers') as string,
    });
    await expect(allocate({ latency: 0.593 })).resolves.toBeDefined();
  });
});
