import { analyze, compress, decodeModel, inspect, type SampleGiven } from '../../src/index.ts';
import { modelBytes } from '../../src/graph/file.ts';
import { encodeModel, type Model } from '../../src/graph/model.ts';
import { describeValue, opset } from '../../src/graph/query.ts';
import { typeOf } from '../../src/graph/tensor.ts';
import { fromFloat16, toFloat16 } from '../../src/numerics/float16.ts';
import { plainFloat32 } from '../../src/passes/fold/float32_arithmetic.ts';
import { floats, runModel } from '../helpers/context.ts';
import { noise } from '../helpers/models.ts';
import { halfModel } from '../passes/fold/half_model.ts';

const samples: SampleGiven[] = Array.from({ length: 16 }, (_, i) => ({
  feeds: { x: { dims: [1, 8], data: noise(60 + i, 8, 1) } },
}));
const x = noise(90, 64, 1);
const x16 = { x: { type: 'float16', dims: [8, 8], data: toFloat16(x) } } as const;
const file = encodeModel(halfModel('float16'));

/** Signal to noise of what a model of float16 ends gives, in dB, against the same in float32. */
async function sqnrOf(model: Model, level: 'disabled' | 'all'): Promise<number> {
  const want = (await runModel(plainFloat32(halfModel('float16', 'float32')), { x: floats(fromFloat16(toFloat16(x)), [8, 8]) })).y!.data as Float32Array; // prettier-ignore
  const { data } = (await runModel(model, x16, level)).y!;
  const bits = data as unknown as Uint16Array;
  const is = bits instanceof Uint16Array ? fromFloat16(bits) : Float32Array.from(data as Float32Array);
  const sum = (of: (v: number, i: number) => number): number => want.reduce((s, v, i) => s + of(v, i) ** 2, 0);
  return 10 * Math.log10(sum((v) => v) / sum((v, i) => v - is[i]!));
}

const ends = (model: Model): string[] =>
  [...model.graph.input, ...model.graph.output].map((v) => describeValue(v).type);

const prune = {
  pruners: { half: { class: 'SparsityLevelParameterPruner', levels: { '*': 0.5 } } },
  policies: [{ pruner: { instance_name: 'half' }, epochs: [0] }],
};

// The least dB that each is to reach: of 4-bit weights some 20, of 8 some 35, of float16's rounding some 60, of half the weights pruned some 5.
it.each([
  ['int8-no-vnni', 'int8-no-vnni', 25],
  ['int8-fast', 'int8-fast', 25],
  ['w4-weight-only', 'w4-weight-only', 12],
  ['w4a8', 'w4a8', 10],
  ['smallest', 'smallest', 8],
  ['fp16', 'fp16', 60],
  ['nf4', 'nf4', 12],
  ['pruning', prune, 2],
])(
  'a float16 model goes through %s',
  async (_, schedule, least) => {
    const { model: bytes, report } = await compress({ model: file, schedule, data: samples, metrics: ['sqnr'], latency: false }); // prettier-ignore
    expect(report.stages.map(({ verdict }) => verdict)).not.toContain('undone');
    expect(report.stages.flatMap(({ changed }) => changed).length).toBeGreaterThan(0);
    const said = report.notes.filter((note) => note.includes('computes in 16-bit floats'));
    expect(said).toHaveLength(1);
    expect(said[0]).toContain('keep their types');
    const model = decodeModel(bytes);
    expect(ends(model)).toEqual(['float16', 'float16']);
    for (const level of ['disabled', 'all'] as const) expect(await sqnrOf(model, level)).toBeGreaterThan(least);
    // Nothing large is left in float32 that the file held in 16 bits; what a layer is not known by (mixed precision) is.
    const wide = model.graph.initializer.filter((t) => typeOf(t) === 'float32' && t.dims.length === 2);
    expect(wide.filter(({ name }) => ['w', 'outer', 'large'].includes(name))).toEqual([]);
  },
  120_000,
);

it('what nothing was done to is the file as it was', async () => {
  const schedule = { ...prune, pruners: { half: { ...prune.pruners.half, levels: { '*': 0 } } } };
  const { model, report } = await compress({ model: file, schedule, data: samples, metrics: ['sqnr'], latency: false });
  expect(opset(decodeModel(model))).toBe(17);
  expect(report.model.bytes).toBe(modelBytes(decodeModel(file)));
});

it("qtool's own float16 file is compressed as the file that it was made from", async () => {
  const plain = encodeModel(plainFloat32(halfModel('float16', 'float32')));
  const given = { data: samples, metrics: ['sqnr'], latency: false } as const;
  const stored = await compress({ ...given, model: plain, schedule: 'fp16' });
  const [a, b] = [
    await compress({ ...given, model: plain, schedule: prune }),
    await compress({ ...given, model: stored.model, schedule: prune }),
  ];
  const changed = (r: typeof a): string[] => r.report.stages.flatMap((s) => s.changed.map(({ layer }) => layer)).sort();
  // Within bodies and functions a pruner sees what is stored, which in the one file are Constant nodes.
  const outside = (r: typeof a): string[] => changed(r).filter((layer) => !/^[pqr]\d|^called/.test(layer));
  expect(outside(b)).toEqual(outside(a));
  expect(outside(a)).toContain('first');
  expect(b.report.notes.join()).not.toContain('computes in 16-bit floats');
  const halves = decodeModel(b.model).graph.initializer.filter((t) => typeOf(t) === 'float16');
  expect(halves.map(({ name }) => name)).toEqual(expect.arrayContaining(['w_half']));
});

it('a bfloat16 model has the float32 form as its baseline, and that is said', async () => {
  const bf16 = encodeModel(halfModel('bfloat16'));
  const { model, report } = await compress({ model: bf16, schedule: 'int8-fast', data: samples, metrics: ['sqnr'], latency: false }); // prettier-ignore
  const note = report.notes.find((one) => one.includes('computes in 16-bit floats'));
  expect(note).toContain('the float baseline is this model');
  expect(note).toContain('x, y: float32 instead of bfloat16');
  expect(ends(decodeModel(model))).toEqual(['float32', 'float32']);
  expect(report.stages[0]?.changed.length).toBeGreaterThan(0);
  const pruned = await compress({ model: bf16, schedule: prune, data: samples, metrics: ['sqnr'], latency: false });
  expect(decodeModel(pruned.model).graph.initializer.map(typeOf)).toContain('bfloat16');
});

it('is analyzed and inspected', async () => {
  const found = await analyze({ model: file, data: samples });
  expect(found.proposal.map(({ layer }) => layer)).toEqual(expect.arrayContaining(['first', 'second']));
  expect((await inspect({ model: file })).layers.map(({ layer }) => layer)).toContain('first');
});
