import { openProbe } from '../../../src/passes/allocate/probe.ts';
import { repairAllocator } from '../../../src/passes/allocate/repair.ts';
import { edit } from '../../../src/graph/edit.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { dimsOf, makeTensor, tensorData } from '../../../src/graph/tensor.ts';
import { sqnrAllocator } from '../../../src/passes/allocate/sqnr.ts';
import type { PassContext, Plan } from '../../../src/passes/pass.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import type { Feeds } from '../../../src/data/types.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';
import { optimizedOps } from '../../helpers/quality.ts';

const images = [1, 2].map((seed): Feeds => ({ x: floats(noise(seed, 16 * 192), [16, 3, 8, 8]) }));
const context = (given: Partial<PassContext> = {}): PassContext => testContext({ calibration: images, ...given });
const parameters: Record<string, number> = { conv1: 216, conv2: 576, dw: 72, fc: 40 };

const planOf = (widths: Record<string, number>): Plan =>
  new Map(
    Object.entries(widths).map(([name, bits]) => [
      name,
      { weights: { kind: 'int', bits, signed: true, symmetric: true, narrow: true } as const },
    ]),
  );
const bitsOf = (plan: Plan | undefined): Record<string, number> =>
  Object.fromEntries(
    [...(plan ?? [])].map(([name, { weights }]) => [name, weights?.kind === 'int' ? weights.bits : NaN]),
  );
const spent = (bits: Record<string, number>): number =>
  Object.entries(bits).reduce((sum, [name, b]) => sum + b * (parameters[name] as number), 0);

const repaired = (options: object, given: PassContext, model: Model = smallConvNet()) =>
  repairAllocator.apply(model, repairAllocator.options.parse(options), given);

/** Bits where they help least: the tiny last layer at 2, the largest at 8. */
const bad = planOf({ conv1: 2, conv2: 8, dw: 3, fc: 2 });

describe('allocate/repair', () => {
  it('makes a bad plan better for the same bits, before a quantizer', async () => {
    const given = context({ plan: bad });
    const { plan, preview, notes, changed } = await repairAllocator.apply(
      smallConvNet(),
      repairAllocator.options.parse({}),
      given,
    );
    expect(spent(bitsOf(plan))).toBeLessThanOrEqual(spent(bitsOf(bad)));
    expect(bitsOf(plan).conv2).toBeLessThan(8);
    expect(changed.map((c) => c.layer)).toContain('fc');
    const [before, after] =
      /output: ([\d.]+) dB before, ([\d.]+) dB after/
        .exec(notes?.[0] ?? '')
        ?.slice(1)
        .map(Number) ?? [];
    expect(after).toBeGreaterThan((before as number) + 3);
    const got = await (await openProbe(context(), smallConvNet(), 32)).noise(preview as Model);
    expect(-10 * Math.log10(got)).toBeCloseTo(after as number, 0);
  });

  it('stores changed layers of a quantized model anew: what is stored is what the quantizer would have made', async () => {
    const options = staticQuantizer.options.parse({ weight_scales: 'mse' });
    const { model, twin } = await staticQuantizer.apply(smallConvNet(), options, context({ plan: bad }));
    const given = context({ plan: bad, twin: twin as Model });
    const repaired = await repairAllocator.apply(model, repairAllocator.options.parse({}), given);
    expect(repaired.changed.length).toBeGreaterThan(0);
    const direct = await staticQuantizer.apply(smallConvNet(), options, context({ plan: repaired.plan as Plan }));
    const [mine, theirs] = [repaired.model, direct.model].map((m) => initializers(m.graph));
    for (const [name, tensor] of theirs as NonNullable<typeof theirs>) {
      const own = tensorData((mine as NonNullable<typeof mine>).get(name) as never) as Float32Array;
      const wanted = tensorData(tensor) as Float32Array;
      // The input's scale is found again as a quotient of float32 scales: a bias may fall on the other side of a half.
      const slack = name.includes('bias_quantized') ? 1 : 1e-6;
      own.forEach((v, i) => expect(Math.abs(v - (wanted[i] as number))).toBeLessThanOrEqual(slack));
    }
    expect(await optimizedOps(repaired.model)).toEqual(await optimizedOps(direct.model));
  });

  it('leaves what has no width of the plan as it is', async () => {
    // The latency allocator keeps layers in float.
    const plan: Plan = new Map([...planOf({ conv1: 2, conv2: 8 }), ['dw', { weights: { kind: 'float', bits: 32 } }]]);
    const result = await repaired({}, context({ plan }));
    expect(Object.keys(bitsOf(result.plan))).toEqual(['conv1', 'conv2']);
    const [before, after] = [smallConvNet(), result.preview as Model].map((m) => initializers(m.graph));
    for (const name of ['dw.weight', 'fc.weight'])
      expect(tensorData(after!.get(name)!)).toEqual(tensorData(before!.get(name)!));
    expect(tensorData(after!.get('conv1.weight')!)).not.toEqual(tensorData(before!.get('conv1.weight')!));
  });

  it('changes no layer whose width is not free, and says which it changes', async () => {
    const options = { limits: { dw: { min: 4, max: 8 }, conv1: { min: 2, max: 2 } } };
    const { plan, changed } = await repaired(options, context({ plan: bad }));
    const bits = bitsOf(plan);
    // 3 bits are none that the rule names: they stay, as the plan has them.
    expect(bits).toMatchObject({ conv1: 2, dw: 3 });
    const before: Record<string, number> = { conv1: 2, conv2: 8, dw: 3, fc: 2 };
    expect(changed).toEqual(
      Object.keys(bits)
        .filter((name) => bits[name] !== before[name])
        .map((layer) => ({ layer, text: `${before[layer]} → ${bits[layer]} bits` })),
    );
    expect(changed.length).toBeGreaterThan(0);
  });

  it('keeps the rounding of layers of a quantized model that it does not change, and the model where it changes none', async () => {
    const { model, twin } = await staticQuantizer.apply(
      smallConvNet(),
      staticQuantizer.options.parse({}),
      context({ plan: bad }),
    );
    // As AdaRound leaves them: not all to the nearest step.
    const moved = edit(model, (draft) => {
      const old = initializers(model.graph).get('conv1.weight_quantized')!;
      const codes = (tensorData(old) as Int8Array).map((code, i) => (i % 2 === 0 && code < 1 ? code + 1 : code));
      draft.replace(old.name, makeTensor(old.name, 'int8', dimsOf(old), codes));
    });
    const codesOf = (m: Model) => tensorData(initializers(m.graph).get('conv1.weight_quantized')!);
    const given = () => context({ plan: bad, twin: twin as Model });
    const some = await repaired({ limits: { conv1: { min: 2, max: 2 } } }, given(), moved);
    expect(some.changed.length).toBeGreaterThan(0);
    expect(codesOf(some.model)).toEqual(codesOf(moved));
    expect(some.notes).toContain('changed layers are rounded to nearest');
    const fixed = Object.fromEntries(Object.keys(parameters).map((name) => [name, { min: 8, max: 8 }]));
    const none = await repaired({ limits: fixed }, given(), moved);
    expect(none.model).toBe(moved);
    expect([none.changed, none.notes?.length]).toEqual([[], 1]);
  });

  it('does not count on layers that a quantizer holds in another form', async () => {
    const options = staticQuantizer.options.parse({ overrides: { fc: { bits_weights: null } } });
    const { model, twin } = await staticQuantizer.apply(smallConvNet(), options, context({ plan: bad }));
    const { plan } = await repaired({}, context({ plan: bad, twin: twin as Model }), model);
    expect(Object.keys(bitsOf(plan))).toEqual(['conv1', 'conv2', 'dw']);
  });

  it('exchanges coded steps by half bits, in plans of coded steps', async () => {
    const coded = (await sqnrAllocator.apply(
      smallConvNet(),
      sqnrAllocator.options.parse({ budget: { weights: 3 }, scales: 'coded', gains: 'equal', kappa: 6 }),
      context(),
    )).plan as Plan; // prettier-ignore
    const kinds = (plan: Plan | undefined) => [...(plan?.values() ?? [])].map(({ weights }) => weights?.kind);
    const widths = (plan: Plan): number[] =>
      [...plan.values()].map(({ weights }) => (weights?.kind === 'coded' ? weights.bits : NaN));
    const given = context({
      plan: new Map([...coded].map(([name, one], i) => [name, i < 3 ? one : planOf({ fc: 4 }).get('fc')!])),
    });
    const { plan, changed } = await repaired({}, given);
    expect(kinds(plan)).toEqual(['coded', 'coded', 'coded', 'coded']);
    expect(changed.length).toBeGreaterThan(0);
    widths(plan as Plan).slice(0, 3).forEach((bits, i) => expect(Math.abs(2 * (bits - widths(coded)[i]!)) % 1).toBe(0)); // prettier-ignore
  });

  it('takes a metric of the run, and says what it lost', async () => {
    // The metric falls by 1 for each bit that dw lacks of 8.
    const values = (model: Model) =>
      new Set((tensorData(initializers(model.graph).get('dw.weight')!) as Float32Array).subarray(0, 9)).size;
    const measure: PassContext['measure'] = (model) => {
      const drop = 9 - values(model);
      const metric = { name: 'top1', value: 90 - drop, reference: 90, drop, unit: '%', higherIsBetter: true, samples: 9 } as const; // prettier-ignore
      return Promise.resolve({ metrics: [metric] });
    };
    const { notes, plan } = await repaired({ metric: 'top1' }, context({ plan: planOf({ conv1: 6, conv2: 6, dw: 2 }), measure })); // prettier-ignore
    expect(bitsOf(plan).dw).toBeGreaterThan(4);
    expect(notes?.[0]).toMatch(/^top1: [67]\.00 below float before, [0-3]\.00 below float after/);
  });

  describe('within a time', () => {
    let clock = 0;
    const now = performance.now.bind(performance);
    beforeEach(() => {
      clock = 0;
      performance.now = () => clock;
    });
    afterEach(() => {
      performance.now = now;
    });
    /** Every model that is measured takes 50 seconds: the plan, one width for all, and one more look fit into 120. */
    const slow = async (widths: Record<string, number>, options: object = {}) => {
      const plain = testContext({ calibration: [images[0]!] });
      const said: number[] = [];
      const given = testContext({
        calibration: [images[0]!],
        plan: planOf(widths),
        progress: (done) => said.push(done),
        compute: (...args) => ((clock += 50_000), plain.compute(...args)),
      });
      return { ...(await repaired({ samples: 16, ...options }, given)), said };
    };

    // Σ parameters · bits of the first is 5336, of the second exactly that of 5 bits for all: 4520.
    it.each<[string, Record<string, number>, object, Record<string, number>]>([
      ['the widest', { conv1: 2, conv2: 8, dw: 3, fc: 2 }, {}, { conv1: 5, conv2: 5, dw: 5, fc: 5 }],
      ['what costs the same', { conv1: 6, conv2: 5, dw: 2, fc: 5 }, {}, { conv1: 5, conv2: 5, dw: 5, fc: 5 }],
      [
        'or the next below that it may have, or its least',
        { conv1: 2, conv2: 8, dw: 3, fc: 7 },
        { limits: { dw: { max: 3 }, fc: { min: 7 } } },
        // 6 bits take 5248 of 5536.
        { conv1: 6, conv2: 6, dw: 3, fc: 7 },
      ],
    ])('begins with one width for all: %s', async (_, start, options, wanted) => {
      const { plan, notes, said } = await slow(start, options);
      expect(bitsOf(plan)).toEqual(wanted);
      expect(notes?.[0]).toMatch(/after 0 exchanges \(3 models measured\); ended by its time budget$/);
      // Told before each model: shares of the 120 s.
      expect(said.map((done) => Math.round(120 * done))).toEqual([0, 50, 100]);
    });

    it('which stays as it was where that is better, and says nothing of time that was enough', async () => {
      const start = { conv1: 6, conv2: 5, dw: 8, fc: 8 };
      const { plan } = await slow(start);
      expect(bitsOf(plan)).toEqual(start);
      const { notes } = await slow(start, { seconds: 1e6, widths: [8] });
      expect(notes?.[0]).toMatch(/measured\)$/);
    });
  });

  it('names the layers that its patterns stand for', () => {
    const options = repairAllocator.options.parse({ limits: { 'conv*': { max: 4 } }, together: ['fc'] });
    expect(repairAllocator.selectors?.(options)).toEqual([
      { pattern: 'conv*', path: ['limits', 'conv*'], over: 'layers' },
      { pattern: 'fc', path: ['together', 0], over: 'layers' },
    ]);
  });

  it('says what it needs', async () => {
    await expect(repairAllocator.apply(smallConvNet(), repairAllocator.options.parse({}), context())).rejects.toThrow(
      'no plan to repair',
    );
  });
});
