import type { Dataset, Feeds, RunData } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue, type ModelParts } from '../../src/graph/build.ts';
import { edit } from '../../src/graph/edit.ts';
import { modelBytes } from '../../src/graph/file.ts';
import { modelOf, type Model } from '../../src/graph/model.ts';
import { initializers } from '../../src/graph/query.ts';
import { dimsOf, floatData, makeTensor } from '../../src/graph/tensor.ts';
import { prepare } from '../../src/passes/fold/prepare.ts';
import { weightsOnlyQuantizer } from '../../src/passes/quantize/weights_only.ts';
import { checkInputs, compareModels, type CompareOptions } from '../../src/run/compare.ts';
import type { RunEvent } from '../../src/run/event.ts';
import { floats, testContext } from '../helpers/context.ts';
import { noise, weight } from '../helpers/models.ts';
import { dense, images, matching, never, quantized, vectors } from './support.ts';

const given = (all: readonly Feeds[], notes: readonly string[] = []): Dataset => ({
  info: { kind: 'random', source: 'given', samples: all.length, labelled: false, notes },
  async *samples(limit = all.length) {
    for (const [i, feeds] of all.slice(0, limit).entries()) yield { id: String(i), feeds };
  },
});
const rows = Array.from({ length: 6 }, (_, i) => ({ x: floats(noise(i, 8), [1, 8]) }));

async function compared(
  reference: Model,
  model: Model,
  more: Partial<CompareOptions> = {},
  own: Partial<RunData> = {},
) {
  const events: RunEvent[] = [];
  const data = { calibration: given([]), validation: given(rows, ['of the samples']), notes: ['of the data'], metrics: [], folder: '', batchSize: undefined, ...own }; // prettier-ignore
  const report = await compareModels({
    ...{ reference, model, data, batchSize: undefined, threads: undefined, latency: false, signal: never },
    log: (event) => events.push(event),
    ...more,
  });
  const metrics = report.measurement.metrics.map(({ name }) => name);
  const progress = events.flatMap((event) => (event.kind === 'progress' && event.text === 'measuring' ? [event.done] : [])); // prettier-ignore
  return {
    ...report,
    metrics,
    progress,
    phases: events.flatMap((event) => (event.kind === 'phase' ? [event.text] : [])),
  };
}

describe('two models that are none of one', () => {
  const other = makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 8])],
    outputs: [makeValue('y', 'float32', ['N', 8])],
    initializers: [weight('v', [8, 8], 7)],
    nodes: [makeNode('MatMul', ['x', 'v'], ['y'], {}, { name: 'elsewhere' })],
  });

  it('are warned of where few layers have the same name and the outputs are others', async () => {
    expect((await compared(net(), other)).warnings[0]).toMatch(/^these are hardly two .* 2 and 1 layers 0 have/);
  });

  it('are not those whose outputs are the same, but those of other weights under the same names', async () => {
    const renamed = edit(other, (draft) => {
      const [node] = draft.nodes();
      draft.update(node!, { name: 'renamed' });
    });
    expect((await compared(other, renamed)).warnings).toEqual([]);
    const initializers = [weight('w1', [8, 8], 8), weight('w2', [8, 8], 9)];
    expect((await compared(net(), net('N', { initializers }))).warnings).toEqual([
      expect.stringMatching(/^these are hardly two .* of 2 layers of the same name and shape 2 have weights that agree no more than by chance/),
    ]); // prettier-ignore
  });
});

/** x [N, 8] → one → Relu → two → y. */
const net = (batch: number | string = 'N', more: Partial<ModelParts> = {}): Model =>
  makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', [batch, 8])],
    outputs: [makeValue('y', 'float32', [batch, 8])],
    initializers: [weight('w1', [8, 8], 1), weight('w2', [8, 8], 2)],
    nodes: [
      makeNode('MatMul', ['x', 'w1'], ['h'], {}, { name: 'one' }),
      makeNode('Relu', ['h'], ['r']),
      makeNode('MatMul', ['r', 'w2'], ['y'], {}, { name: 'two' }),
    ],
    ...more,
  });
/** The model with a weight rounded to quarters. */
const rounded = (model: Model, name: string): Model =>
  edit(model, (draft) => {
    const old = initializers(model.graph).get(name)!;
    draft.replace(name, makeTensor(name, 'float32', dimsOf(old), floatData(old).map((v) => Math.round(v * 4) / 4))); // prettier-ignore
  });

describe('compareModels', () => {
  it('tells sizes, outputs, and the first layer that differs by more than the order of sums', async () => {
    const [reference, second] = [net(), rounded(net(), 'w2')].map(({ proto }, i) => modelOf(proto, `${i}.onnx`)) as [Model, Model]; // prettier-ignore
    const report = await compared(reference, second);
    expect(report).toMatchObject({
      format: 1,
      reference: { path: '0.onnx', bytes: modelBytes(reference) },
      model: { path: '1.onnx', bytes: modelBytes(second) },
      data: { samples: 6 },
      measurement: { bytes: modelBytes(second), latency: [] },
      layers: [{ layer: 'one', sqnr: Infinity }, { layer: 'two' }],
      first: { layer: 'two' },
      where: [matching(/two/), matching(/^the rounding of two's weights/)],
      warnings: [],
      notes: ['of the data', 'of the samples'],
      phases: ['comparing outputs', 'comparing layers'],
      // One batch takes all.
      progress: [1],
    });
    // Half a step of 0.25 at most, eight times.
    expect(report.first?.sqnr).toBeLessThan(40);
    expect(report.levels?.samples).toBe(6);
  });

  it('finds nothing in a model and itself, given without paths', async () => {
    const report = await compared(net(), net());
    expect(report).toMatchObject({ first: undefined, warnings: [], model: { path: '' }, reference: { path: '' } });
  });

  it('tells layers apart from the samples that the outputs are measured on', async () => {
    // The calibration samples are zeros, in which no layer differs.
    const zeros = given(rows.map(() => ({ x: floats(new Float32Array(8), [1, 8]) })));
    const report = await compared(net(), rounded(net(), 'w1'), {}, { calibration: zeros });
    expect(report.first?.layer).toBe('one');
  });

  it('says that a model is another one when it is optimized', async () => {
    // MatMulNBits rounds activations to 8 bits there, and some processors saturate.
    const { model } = await quantized(weightsOnlyQuantizer, dense, vectors);
    const { warnings } = await compared(dense, model, {}, { validation: given(vectors) });
    const told = (which: string) => [matching(new RegExp(`^the ${which} is another model as onnxruntime runs it: .* SQNR of [\\d.]+ dB against its own with graph optimizations off \\(8 samples\\): `))]; // prettier-ignore
    expect(warnings).toEqual(told('second'));
    // The other way around it is still the quantized one.
    expect((await compared(model, dense, {}, { validation: given(vectors) })).warnings).toEqual(told('first'));
  });

  it('says where no layer is in both, and not where there is none at all', async () => {
    const note = 'the models have no layer of the same name: only outputs are compared';
    const other = net('N', {
      initializers: [weight('w3', [8, 8], 3)],
      nodes: [makeNode('MatMul', ['x', 'w3'], ['other'], {}, { name: 'third' }), makeNode('Neg', ['other'], ['y'])],
    });
    expect((await compared(net(), other)).notes).toEqual([note, 'of the data', 'of the samples']);
    const plain = net('N', { initializers: [], nodes: [makeNode('Neg', ['x'], ['y'])] });
    expect((await compared(plain, plain)).notes).toEqual(['of the data', 'of the samples']);
    // One of two that both have is enough to compare layers by.
    const half = net('N', {
      nodes: [
        makeNode('MatMul', ['x', 'w1'], ['h'], {}, { name: 'one' }),
        makeNode('Tanh', ['h'], ['t']),
        makeNode('MatMul', ['t', 'w2'], ['new'], {}, { name: 'new' }),
        makeNode('Neg', ['new'], ['y']),
      ],
    });
    expect(await compared(net(), half)).toMatchObject({ notes: ['of the data', 'of the samples'], first: undefined });
  });

  it('says that a model takes longer', async () => {
    const size = 512;
    const slow = net(2, {
      initializers: [weight('w1', [8, 8], 1), weight('up', [8, size], 2), weight('w2', [8, 8], 2), weight('square', [size, size], 3), weight('down', [size, 8], 4)], // prettier-ignore
      nodes: [
        makeNode('MatMul', ['x', 'up'], ['a0'], {}, { name: 'up' }),
        ...Array.from({ length: 8 }, (_, i) => makeNode('MatMul', [`a${i}`, 'square'], [`a${i + 1}`])),
        makeNode('MatMul', ['a8', 'down'], ['y'], {}, { name: 'down' }),
      ],
    });
    const { measurement, notes, phases } = await compared(net(), slow, { latency: true });
    // At its fixed batch alone. Products of 4 million numbers beside some of 256 take over ten times as long.
    expect(measurement.latency).toMatchObject([{ batch: 2 }]);
    expect(notes).toContainEqual(matching(/^the model is slower than the first: 0\.\d+×/));
    expect(phases).toEqual(['comparing outputs', 'comparing layers', 'measuring latency']);
  });

  const conv = makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
    outputs: [makeValue('y', 'float32', ['N', 4, 8, 8])],
    initializers: [weight('w', [4, 3, 1, 1], 1), weight('v', [4, 4, 1, 1], 2), ...[1, 2, 3, 4].map((i) => makeTensor(`s${i}`, 'float32', [4], Float32Array.of(1, 2, 3, i)))], // prettier-ignore
    nodes: [
      makeNode('Conv', ['x', 'w'], ['c'], {}, { name: 'one' }),
      makeNode('BatchNormalization', ['c', 's1', 's2', 's3', 's4'], ['b'], {}, { name: 'norm' }),
      makeNode('Conv', ['b', 'v'], ['y'], {}, { name: 'two' }),
    ],
  });
  it('compares with the reference as its layers are in the second model: normalization apart, or folded', async () => {
    const validation = given(images);
    const apart = await compared(conv, rounded(conv, 'w'), {}, { validation });
    expect(apart.first).toMatchObject({ layer: 'one', own: expect.closeTo(apart.first!.sqnr!, 1) as number });
    const { model: folded } = await prepare(conv, testContext({ calibration: images, reference: conv }));
    expect(folded.graph.node.map(({ op_type }) => op_type)).toEqual(['Conv', 'Conv']);
    const [name] = folded.graph.node[0]!.input.slice(1);
    const together = await compared(conv, rounded(folded, name!), {}, { validation });
    expect(together.first).toMatchObject({ layer: 'one', own: expect.closeTo(together.first!.sqnr!, 1) as number });
  });
});

describe('what is measured', () => {
  const output = (dims: (number | string)[], ...more: string[]): Model => {
    const shape = makeTensor('shape', 'int64', [dims.length], BigInt64Array.from([-1n, ...dims.slice(1).map((d) => BigInt(d === 'C' ? 8 : d))])); // prettier-ignore
    return net('N', {
      outputs: [makeValue('y', 'float32', dims), ...more.map((name) => makeValue(name, name === 'i' ? 'int64' : 'float32', ['N', 8]))], // prettier-ignore
      initializers: [shape],
      nodes: [
        makeNode('Reshape', ['x', 'shape'], ['y']),
        ...more.map((name) =>
          name === 'i' ? makeNode('Cast', ['x'], ['i'], { to: 7 }) : makeNode('Neg', ['x'], [name]),
        ),
      ],
    });
  };
  const distances = ['sqnr', 'cosine'];
  it.each([
    ['scores', output(['N', 8]), [...distances, 'agreement']],
    ['no classes', output(['N', 8, 1]), distances],
    ['one number', output(['M', 1]), distances],
    ['a free number of them', output(['N', 'C']), distances],
    ['several', output(['N', 8], 'z'), distances],
    ['several, one of integers', output(['N', 8], 'i'), distances],
  ])(
    'is the classes too where the outputs look like scores, and distances where they are floats: %s',
    async (_, model, metrics) => {
      expect((await compared(model, model)).metrics).toEqual([...metrics, 'largest difference']);
    },
  );

  it('is what the data asks for, and all that compares outputs', async () => {
    const asked = [{ name: 'mse', options: {}, at: () => undefined }];
    const { metrics } = await compared(net(), net(), {}, { metrics: asked });
    expect(metrics).toEqual(['mse', 'agreement', ...distances, 'largest difference']);
  });

  it('is whether integers agree', async () => {
    const model = net('N', { outputs: [makeValue('y', 'int64', ['N', 1])], initializers: [], nodes: [makeNode('ArgMax', ['x'], ['y'], { axis: 1 })] }); // prettier-ignore
    expect((await compared(model, model)).metrics).toEqual(['agreement']);
  });

  it('comes in batches that either model insists on, else that were asked for', async () => {
    const each = async (reference: Model, model: Model, asked?: number, ofData?: number) =>
      (await compared(reference, model, { batchSize: asked }, { batchSize: ofData })).progress.length;
    expect([await each(net(2), net(), 6), await each(net(), net(4), 6)]).toEqual([3, 2]);
    expect([await each(net(), net(), 3, 1), await each(net(), net(), undefined, 1), await each(net(), net())]).toEqual([2, 6, 1]); // prettier-ignore
  });
});

describe('models that are no forms of one', () => {
  const one = (type: 'float32' | 'int64', dims?: (number | string)[], name = 'x'): Model => {
    const { proto } = makeModel({ inputs: [makeValue(name, type, dims)], outputs: [], nodes: [] });
    return modelOf(proto, 'second.onnx');
  };
  it.each([
    [one('float32', ['N', 8]), one('float32', ['batch', 8])],
    [one('float32', ['N', 8]), one('float32', [4, 8])],
    [one('float32', [4, 8]), one('float32', ['N', 8])],
    [one('float32', [4, 8]), one('float32', [4, 8])],
    [one('float32'), one('float32', [4, 8])],
    [one('float32', [4, 8]), one('float32')],
  ])('are not told by sizes that are free: case %#', (first, second) => {
    expect(() => checkInputs(first, second)).not.toThrow();
  });

  it.each([
    [one('float32', ['N', 8]), one('int64', ['N', 8]), '"x" is float32[N, 8] in the first model, int64[N, 8] in the second'],
    [one('float32', [4, 8]), one('float32', [4, 9]), '"x" is float32[4, 8] in the first model, float32[4, 9] in the second'],
    [one('float32', [4, 8]), one('float32', [4, 8, 1]), '"x" is float32[4, 8] in the first model, float32[4, 8, 1] in the second'],
    [one('float32'), one('int64', ['N']), '"x" is float32[?] in the first model, int64[N] in the second'],
    [one('float32', ['N']), one('float32', ['N'], 'z'), '"x" is float32[N] in the first model, none in the second'],
    [makeModel({ inputs: [], outputs: [], nodes: [] }), one('float32', ['N'], 'z'), '"z" is none in the first model, float32[N] in the second'],
  ])('are told by their inputs: case %#', (first, second, message) => {
    const wanted = { code: 'model', message: `the inputs differ: ${message}`, at: 'second.onnx', hint: 'both must be forms of one model' };
    expect(() => checkInputs(first, second)).toThrow(expect.objectContaining(wanted) as Error);
  }); // prettier-ignore

  it('are told by outputs that the second has not', async () => {
    const values = ['a', 'b'].map((name) => makeValue(name, 'float32', ['N', 8]));
    const second = modelOf(net('N', { outputs: values, initializers: [], nodes: ['a', 'b'].map((name) => makeNode('Neg', ['x'], [name])) }).proto, 'second.onnx'); // prettier-ignore
    await expect(compared(net(), second)).rejects.toMatchObject({
      ...{ code: 'model', message: 'the second model has no output "y"; it has a, b' },
      ...{ at: 'second.onnx', hint: 'both must be forms of one model' },
    });
  });
});

describe('outputs that are no numbers', () => {
  const logged = edit(net(), (draft) => {
    const last = draft.nodes().at(-1)!;
    draft.update(last, { output: ['before'] });
    draft.addNode(makeNode('Log', ['before'], ['y']));
  });

  it.each([
    ['the first', logged, logged],
    ['the second', net(), logged],
  ])('are said of %s model', async (which, first, second) => {
    const { warnings } = await compared(first, second);
    expect(warnings[0]).toMatch(new RegExp(`^${which} model's own outputs hold NaN or infinity`));
  });
});
