import type { Batch, Feeds } from '../../data/types.ts';
import type { Model } from '../../graph/model.ts';
import type { Metric, MetricResult } from '../../metrics/metric.ts';
import { onnxruntimeFloat } from '../../numerics/requantize/onnxruntime.ts';
import type { Scheme } from '../../numerics/requantize/scheme.ts';
import { ahead, checkCancelled, realRows } from '../../runtime/capture.ts';
import { openComputer } from '../../runtime/compute.ts';
import { expose } from '../../runtime/expose.ts';
import { openSession, type Session } from '../../runtime/session.ts';
import { QtoolError } from '../../util/error.ts';
import { given } from '../../util/must.ts';
import { exactSums, lookAtPartials, lookAtSums, narrowed, noSums, type SumFacts } from './accumulators.ts';
import { addDifferences, apart, noDifferences, type Apart, type Difference } from './differences.ts';
import { energyOf, type Energy } from '../../numerics/energy.ts';
import { openDevice, openMachine, runDevices } from './execute.ts';
import { layerFacts, workOf, type LayerBits } from './layer_bits.ts';
import { Refused, type Device, type Machine, type Opened } from './machine.ts';
import { saturatePairs, type PairCount, type RiskyPairs } from './pairs.ts';
import { targetOf, type Codes, type ProductStep, type Sums } from './steps.ts';

/** One way to run the model, and what came of it. */
export interface IntegerRun {
  readonly name: string;
  /** `measured`: onnxruntime itself; `scheme`: exact integers and this requantization; `device`: onnxruntime's requantization on narrower hardware. */
  readonly kind: 'measured' | 'scheme' | 'device';
  readonly summary: string;
  /** Why the scheme cannot hold the model; then nothing was measured. */
  readonly refused: string | undefined;
  readonly metrics: readonly MetricResult[];
  /** From onnxruntime with its graph optimizations off. */
  readonly disabled: Difference | undefined;
  /** From onnxruntime as it usually runs. */
  readonly all: Difference | undefined;
}

/** What exact integers say of a quantized model. */
export interface IntegerFindings {
  readonly samples: number;
  readonly runs: readonly IntegerRun[];
  readonly layers: readonly LayerBits[];
  /** Width of the accumulators that were tried, where one was asked for. */
  readonly accumulator: number | undefined;
  /** What runs in float, and why. */
  readonly float: readonly { readonly layer: string; readonly op: string; readonly why: string }[];
  /** Microjoules a sample by Horowitz's table; none where sizes were not seen. */
  readonly energy: { readonly integer: Energy; readonly float: Energy };
}

export interface VerifyOptions {
  readonly batches: () => AsyncIterable<Batch>;
  readonly samples: number;
  readonly metrics: readonly Metric[];
  readonly schemes: readonly Scheme[];
  /** Also run with accumulators of so many bits, wrapping and saturating. */
  readonly accumulator?: number | undefined;
  readonly threads?: number | undefined;
  readonly signal: AbortSignal;
  readonly progress: (samples: number) => void;
}

/** Sessions that may be open: a layer has two, and large models hundreds. */
const openSessions = 2000;

/**
 * Executes a quantized model in exact integers under each scheme, beside onnxruntime on the same samples. Batches are streamed; nothing
 * but counts and sums is kept.
 * @throws QtoolError `model` for a model that is not statically quantized.
 */
export async function verifyInteger(model: Model, options: VerifyOptions): Promise<IntegerFindings> {
  const computer = openComputer(openSessions, { threads: options.threads, optimization: 'basic' });
  const open: Session[] = [];
  try {
    const machine = await openMachine(model, computer);
    const products = machine.plan.steps.filter((step) => step.kind === 'product');
    if (products.length === 0) throw nothingInteger(model, machine);
    const coded = machine.plan.steps.flatMap((step) => {
      const value = targetOf(step)?.value;
      return step.kind === 'float' || value === undefined ? [] : [{ layer: step.layer, op: step.op, value }];
    });
    const outputs = model.graph.output.map(({ name }) => name);
    const shown = expose(model, [...new Set([...coded.map(({ value }) => value), ...outputs])]);
    for (const optimization of ['disabled', 'all'] as const)
      open.push(await openSession(shown, { optimization, threads: options.threads }));
    return await streamed(machine, open as [Session, Session], coded, products, options);
  } finally {
    for (const session of open) await session.close();
    await computer.close();
  }
}

/** One run in progress. */
interface Track {
  readonly name: string;
  readonly kind: IntegerRun['kind'];
  readonly summary: string;
  readonly states: unknown[];
  readonly disabled: ReturnType<typeof noDifferences>;
  readonly all: ReturnType<typeof noDifferences>;
}

type Coded = { readonly layer: string; readonly op: string; readonly value: string };

async function streamed(
  machine: Machine,
  [off, on]: readonly [Session, Session],
  coded: readonly Coded[],
  products: readonly ProductStep[],
  options: VerifyOptions,
): Promise<IntegerFindings> {
  const { metrics, accumulator, schemes, signal } = options;
  const sums = new Map<ProductStep, SumFacts>(products.map((step) => [step, noSums()]));
  const pairs = new Map<ProductStep, PairCount>(products.map((step) => [step, { saturated: 0, pairs: 0 }]));
  const shapes = new Map<ProductStep, { readonly inputs: number; readonly outputs: number }>();
  const refused: IntegerRun[] = [];
  const saturated = pairCounter();
  const looking = lookingDevice(machine, { sums, pairs, shapes, saturated, accumulator });
  const tracks: Track[] = [];
  const devices: Opened[] = [];
  const add = (name: string, kind: Track['kind'], summary: string): void =>
    void tracks.push({ ...{ name, kind, summary, states: metrics.map((metric) => metric.start()) }, disabled: noDifferences(), all: noDifferences() }); // prettier-ignore
  const addDevice = (name: string, kind: Track['kind'], summary: string, device: Device): void => {
    try {
      devices.push(openDevice(machine, device));
      add(name, kind, summary);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      refused.push({ ...{ name, kind, summary, refused: error.message, metrics: [] }, disabled: undefined, all: undefined }); // prettier-ignore
    }
  };
  add('onnxruntime off', 'measured', 'onnxruntime with its graph optimizations disabled');
  add('onnxruntime all', 'measured', 'onnxruntime as it usually runs, on this processor');
  for (const scheme of schemes)
    addDevice(scheme.name, 'scheme', scheme.summary, scheme === onnxruntimeFloat ? looking : { scheme });
  if (!schemes.includes(onnxruntimeFloat))
    addDevice(onnxruntimeFloat.name, 'scheme', onnxruntimeFloat.summary, looking);
  if (products.some(({ weights, data }) => weights?.raw.type === 'int8' && !data.code.type.endsWith('16')))
    addDevice('x64, no VNNI', 'device', 'sums of two products saturate at 16 bits', {
      scheme: onnxruntimeFloat,
      accumulated: (step, own, data) => saturated(step, own, data).held,
    });
  if (accumulator !== undefined)
    for (const wraps of [true, false])
      addDevice(`${accumulator} bits, ${wraps ? 'wrap' : 'saturate'}`, 'device', `accumulators of ${accumulator} bits that ${wraps ? 'wrap around at every addition' : 'are cut to the ends when they are finished'}`, {
        scheme: onnxruntimeFloat,
        accumulated: (_, own) => narrowed(own, accumulator, wraps),
      }); // prettier-ignore

  let samples = 0;
  for await (const batch of ahead(options.batches())) {
    const [plain, usual] = [await off.run(batch.feeds), await on.run(batch.feeds)];
    const compare = (value: string, own: readonly Codes[]): void => {
      checkCancelled(signal);
      const index = coded.findIndex((one) => one.value === value);
      const { layer, op } = given(coded[index], 'a layer');
      const references = [given(plain[value], value) as Codes, given(usual[value], value) as Codes] as const;
      const length = Math.round((references[0].data.length * batch.count) / batch.size);
      const known = new Map<Codes, readonly [Apart, Apart]>();
      for (const [i, codes] of [...references, ...own].entries()) {
        const track = given(tracks[i], 'a run');
        const found = known.get(codes) ?? [apart(codes.data, references[0].data, length), apart(codes.data, references[1].data, length)]; // prettier-ignore
        known.set(codes, found);
        addDifferences(track.disabled, { layer, op, index }, found[0], length);
        addDifferences(track.all, { layer, op, index }, found[1], length);
      }
    };
    const outputs = await runDevices(machine, devices, batch.feeds, (value, codes) => compare(value, codes));
    const reference = real(machine, plain, batch);
    for (const [i, one] of [plain, usual, ...outputs].entries()) {
      const { states } = given(tracks[i], 'a run');
      const input = { batch: { ...batch, size: batch.count }, outputs: real(machine, one, batch), reference };
      metrics.forEach((metric, m) => (states[m] = metric.add(states[m], input)));
    }
    samples += batch.count;
    options.progress(samples);
  }
  if (samples === 0) throw new QtoolError('data', 'there is no sample to run on', { hint: 'the dataset is empty' });
  const runs = tracks.map((track): IntegerRun => ({
    ...{ name: track.name, kind: track.kind, summary: track.summary, refused: undefined },
    metrics: metrics.map((metric, i) => metric.finish(track.states[i])),
    disabled: track.disabled.found(),
    all: track.all.found(),
  }));
  return {
    samples,
    runs: [...runs, ...refused],
    layers: products.map((step) => layerFacts(step, given(sums.get(step), 'sums'), given(pairs.get(step), 'pairs'))),
    accumulator,
    float: machine.plan.float,
    energy: energyOf(products.flatMap((step) => workOf(step, given(shapes.get(step), 'a shape'), samples))),
  };
}

type PairCounter = (step: ProductStep, sums: Sums, data: Codes) => ReturnType<typeof saturatePairs>;

/** Counts saturating pairs, once for devices that read the same. */
function pairCounter(): PairCounter {
  const risky: RiskyPairs = new Map();
  let last: { readonly sums: Sums; readonly found: ReturnType<typeof saturatePairs> } | undefined;
  return (step, sums, data) => {
    if (last?.sums !== sums) last = { sums, found: saturatePairs(step, sums, data, risky) };
    return last.found;
  };
}

/** onnxruntime's arithmetic, looked at: what accumulators come to, and which pairs would saturate. */
function lookingDevice(
  machine: Machine,
  seen: {
    readonly sums: ReadonlyMap<ProductStep, SumFacts>;
    readonly pairs: ReadonlyMap<ProductStep, PairCount>;
    readonly shapes: Map<ProductStep, { readonly inputs: number; readonly outputs: number }>;
    readonly saturated: PairCounter;
    readonly accumulator: number | undefined;
  },
): Device {
  return {
    scheme: onnxruntimeFloat,
    async accumulated(step, sums, data) {
      const [facts, count] = [given(seen.sums.get(step), 'sums'), given(seen.pairs.get(step), 'pairs')];
      lookAtSums(facts, await exactSums(step, sums, data, machine), seen.accumulator);
      await lookAtPartials(facts, step, sums, data, machine);
      const { saturated, pairs } = seen.saturated(step, sums, data);
      count.saturated += saturated;
      count.pairs += pairs;
      const { inputs = 0, outputs = 0 } = seen.shapes.get(step) ?? {};
      seen.shapes.set(step, { inputs: inputs + data.data.length, outputs: outputs + sums.data.length });
      return undefined;
    },
  };
}

/** The model's outputs without rows of padding. */
function real({ model }: Machine, outputs: Feeds, batch: Batch): Feeds {
  return Object.fromEntries(
    model.graph.output.map(({ name }) => [name, realRows(given(outputs[name], name), batch)] as const),
  );
}

function nothingInteger(model: Model, { plan: { float } }: Machine): QtoolError {
  const why = float.find(({ op }) => ['Conv', 'Gemm', 'MatMul'].includes(op));
  const message = `no layer can run in integers${why === undefined ? '' : `: ${why.layer}: ${why.why}`}`;
  return new QtoolError('model', message, { at: model.path, hint: 'both weights and activations must be quantized: qtool quantize --schedule int8' }); // prettier-ignore
}
