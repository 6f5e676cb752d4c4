import { makeNode } from '../../src/graph/build.ts';
import { edit } from '../../src/graph/edit.ts';
import { encodeModel, type Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { staticQuantizer } from '../../src/passes/quantize/static.ts';
import { weightsOnlyQuantizer } from '../../src/passes/quantize/weights_only.ts';
import { contradiction } from '../../src/run/contradiction.ts';
import { findingsOf } from '../../src/run/findings.ts';
import { smallConvNet } from '../helpers/models.ts';
import { never, samplesOf, images, vectors, quantized, dense } from './support.ts';

describe('contradiction', () => {
  const net = smallConvNet();
  const note = (layer: string) => ({ layer, text: `${layer} must not` });
  const withFloat = async (...layers: string[]): Promise<Model> => {
    const overrides = Object.fromEntries(layers.map((name) => [name, { bits_weights: 'float' }]));
    return (await quantized(staticQuantizer, net, images, { overrides })).model;
  };

  it('names the layer that runs in integer, and why it should not', async () => {
    const whole = await withFloat();
    const text = 'conv2 was left in float (conv2 must not), but onnxruntime runs it as QLinearConv';
    expect(await contradiction(net, whole, [note('elsewhere'), note('conv2')])).toBe(text);
    // What ran in integer before the stage is no contradiction, the next one is.
    expect(await contradiction(await withFloat('conv2'), whole, [note('conv1'), note('conv2')])).toBe(text);
    expect(await contradiction(whole, whole, [note('conv1'), note('conv2')])).toBeUndefined();
  });

  it('is none where the layer runs in float, or what runs in integer is no layer', async () => {
    const some = await withFloat('conv2');
    expect(await contradiction(net, some, [note('conv2')])).toBeUndefined();
    // The pooling has an integer kernel; it stands in no list of layers.
    expect(await contradiction(net, some, [note('conv2'), note('pool')])).toBeUndefined();
    expect(await contradiction(net, some, [note('elsewhere')])).toBeUndefined();
  });
});

describe('findingsOf', () => {
  type Asked = { status?: 'finished' | 'stopped' | 'cancelled'; measure?: boolean; signal?: AbortSignal; twin?: Model };
  const found = async (model: Model, stages: number[], o: Asked = {}, calibration = samplesOf(vectors)) =>
    findingsOf(
      { model, twin: o.twin, held: new Map(), stages, plan: new Map(), measurement: undefined },
      o.status ?? 'finished',
      { calibration } as never,
      {
        model: dense,
        measure: o.measure ?? true,
        signal: o.signal ?? never,
        schedule: { file: '', stages: [], waiting: [], notes: [] },
        scheduleText: '',
        baseline: { metrics: [], bytes: 0, zeros: 0, latency: [] },
        reports: [],
        metrics: [],
        progress: () => undefined,
      },
    );
  const nothing = 'no stage was kept: the result is the float model';

  it.each<[string, Asked]>([
    ['where nothing is to be measured', { measure: false }],
    ['after Ctrl-C', { status: 'cancelled' }],
  ])('look at no layer %s', async (_, asked) => {
    expect(await found(dense, [1], asked)).toEqual({
      layers: [],
      levels: undefined,
      diagnosis: undefined,
      warnings: [],
    });
  });

  it('say that nothing was kept, of a run that came to its end', async () => {
    const whole = await found(dense, []);
    expect([whole.layers.length, whole.levels, whole.warnings]).toEqual([2, undefined, [nothing]]);
    expect((await found(dense, [], { status: 'stopped' })).warnings).toEqual([]);
    expect((await found(dense, [1])).warnings).toEqual([]);
  });

  it('say first that the levels differ, then that the file grew', async () => {
    const { model } = await quantized(weightsOnlyQuantizer, dense, vectors);
    const pad = edit(model, (draft) => {
      const zeros = draft.add('zeros', makeTensor('', 'float32', [3000], new Float32Array(3000)));
      const last = draft.nodes().find(({ name }) => name === 'two')!;
      draft.update(last, { output: ['raw'] });
      draft.addNode(makeNode('ReduceSum', [zeros], ['nothing'], { keepdims: 0 }));
      draft.addNode(makeNode('Add', ['raw', 'nothing'], ['y']));
    });
    const percent = ((100 * encodeModel(pad).length) / encodeModel(dense).length).toFixed(1);
    const { warnings, layers, levels } = await found(pad, [1]);
    expect(warnings).toEqual([expect.stringContaining('SQNR'), expect.stringContaining(`grew: it has ${percent} %`)]);
    expect([layers.length, levels?.samples]).toEqual([2, 8]);
  });

  it('compare with the float model as the passes prepared it', async () => {
    const { model } = await quantized(weightsOnlyQuantizer, dense, vectors, { bits_weights: 4 });
    const errors = (await found(model, [1])).layers.map(({ sqnr }) => sqnr);
    expect(errors.every((db) => db !== undefined && db > 5 && db < 40)).toBe(true);
    expect((await found(model, [1], { twin: model })).layers.map(({ sqnr }) => sqnr)).toEqual([undefined, undefined]);
  });

  it('end where the run is interrupted meanwhile, and pass on what is a fault', async () => {
    const fails = () => {
      throw new TypeError('a bug');
    };
    const ended = await found(dense, [1], { signal: AbortSignal.abort() }, fails);
    expect(ended).toMatchObject({ warnings: [], diagnosis: { sentences: ['none: interrupted before it was made'] } });
    await expect(found(dense, [1], {}, fails)).rejects.toThrow('a bug');
  });
});
