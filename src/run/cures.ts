import { Document, isMap, isNode, isSeq, parseDocument, YAMLSeq } from 'yaml';
import { outputError } from '../analyze/layer_error.ts';
import type { Batch } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import { decibels } from '../numerics/error.ts';
import { passes } from '../passes/index.ts';
import type { PassContext } from '../passes/pass.ts';
import type { Stage } from '../schedule/types.ts';
import { given } from '../util/must.ts';
import type { Instruments } from './context.ts';
import type { Culprit } from './culprit.ts';
import { overridesText, withRaised, type Raise } from './fallback.ts';
import { refusal } from './trial.ts';

/** A change of the schedule that may win back what a quantizer cost. */
export interface Cure {
  /** What it is, in a few words. */
  readonly label: string;
  /** Instances to run before and after the quantizer, by class. */
  readonly before?: Instance;
  readonly after?: Instance;
  /** What the quantizer is to be given beside what it has. */
  readonly raised?: Readonly<Record<string, Raise>>;
  readonly calibration?: { readonly method?: string; readonly samples?: number };
  /** Bits of all weights. */
  readonly bits?: number;
  /** Takes about as long as a run: it is not tried. */
  readonly dear?: boolean;
}

interface Instance {
  readonly name: string;
  readonly class: string;
  readonly options: Readonly<Record<string, unknown>>;
}

/** A cure that was tried, and the outputs' SQNR with it, dB. */
export interface TriedCure {
  readonly cure: Cure;
  readonly sqnr: number;
}

const equalizeFirst: Instance = { name: 'equalize', class: 'CrossLayerEqualization', options: {} };
const roundAfter: Instance = { name: 'rounding', class: 'AdaRound', options: { samples: 256, iterations: 0 } };

const bySquares: Cure = { label: 'calibration by least squared error', calibration: { method: 'mse' } };

/** At 7 bits no sum of products saturates. */
export const sevenBits: Cure = { label: 'weights of 7 bits', bits: 7 };

/** Both at once. */
export const together = (one: Cure, other: Cure): Cure => ({
  ...one,
  ...other,
  label: `${one.label} and ${other.label}`,
});

/** What may help a culprit, the milder first: what keeps every layer in 8 bits, then more bits for one. */
export function curesOf(stage: Stage, found: Culprit, saturating: boolean, available = 0): Cure[] {
  const cures = likely(stage, found, available);
  // Nothing else helps as long as sums saturate.
  return saturating && stage.pass.name === 'quantize/static'
    ? [sevenBits, ...cures.map((cure) => together(sevenBits, cure))]
    : cures;
}

function likely(stage: Stage, { layer, part, weighted, cause }: Culprit, available: number): Cure[] {
  const o = stage.options as {
    readonly bits_weights?: number | null;
    readonly bits_activations?: number | null;
    readonly calibration?: { readonly method: string; readonly samples: number };
  };
  const narrow = typeof o.bits_weights === 'number' && o.bits_weights < 7;
  const wide: Raise = { bits_weights: 8 };
  const raise = (to: Raise): Cure[] =>
    weighted ? [{ label: overridesText({ [layer]: to }), raised: { [layer]: to } }] : [];
  // A quantizer to number formats has no widths to raise.
  if (!stage.pass.options.safeParse({ overrides: { x: { bits_weights: null } } }).success) return [];
  if (stage.pass.name !== 'quantize/static') return raise(narrow ? wide : { bits_weights: null });
  const equalize: Cure = { label: 'CrossLayerEqualization before it', before: equalizeFirst };
  const method = o.calibration?.method;
  // More of the range, or of what it is taken from, is all that helps what is cut off.
  if (cause === 'few samples')
    return available > (o.calibration?.samples ?? Infinity)
      ? [{ label: `all ${available} calibration samples`, calibration: { samples: available } }]
      : [];
  // Only an error that is not made is not magnified.
  if (cause === 'magnified') return raise({ bits_weights: null });
  if (cause === 'clipping')
    return [
      ...(method === 'minmax' ? [] : [{ label: 'calibration by the extremes', calibration: { method: 'minmax' } }]),
      ...(method === 'mse' ? [] : [bySquares]),
      equalize,
    ];
  return [
    equalize,
    ...(method === 'minmax' && part === 'input' ? [bySquares] : []),
    ...(part === 'input' ? raise({ bits_activations: 16 }) : []),
    ...(narrow && part === 'weights' ? raise(wide) : []),
    ...raise({ bits_weights: null }),
    ...(part === 'weights'
      ? [
          {
            label: 'CrossLayerEqualization before it and AdaRound after it',
            before: equalizeFirst,
            after: roundAfter,
            dear: true,
          },
        ]
      : []),
  ];
}

/** Samples that a trial calibrates, equalizes and rounds on: it has to be much cheaper than the run. */
const trialSamples = 64;

/** A pass's options with no more samples than a trial may see. */
function cheaper(options: unknown): unknown {
  const own = options as { readonly samples?: number; readonly calibration?: { readonly samples: number } };
  const { samples, calibration } = own;
  return {
    ...own,
    ...(samples === undefined ? {} : { samples: Math.min(samples, trialSamples) }),
    ...(calibration === undefined ? {} : { calibration: { ...calibration, samples: Math.min(calibration.samples, trialSamples) } }), // prettier-ignore
  };
}

/** Quantizes the float model anew with a cure. */
async function applied(float: Model, stage: Stage, cure: Cure, tools: Instruments): Promise<Model> {
  const context = (twin: Model | undefined): PassContext =>
    tools.context({ plan: new Map(), twin, memory: new Map(), clock: stage.clock });
  const run = async ({ class: name, options }: Instance, model: Model, twin: Model | undefined) => {
    const pass = given(
      passes.find(({ classes }) => classes.includes(name)),
      `the pass ${name}`,
    );
    return pass.apply(model, cheaper(pass.options.parse(options)), context(twin));
  };
  const before = cure.before ? (await run(cure.before, float, undefined)).model : float;
  const own = cure.raised ? withRaised(stage.options, cure.raised) : stage.options;
  const narrowed = cure.bits === undefined ? own : { ...(own as object), bits_weights: cure.bits };
  const options = cure.calibration
    ? { ...(narrowed as object), calibration: { ...(own as { calibration: object }).calibration, ...cure.calibration } }
    : narrowed;
  const result = await stage.pass.apply(before, cure.calibration?.samples === undefined ? cheaper(options) : options, context(undefined)); // prettier-ignore
  return cure.after ? (await run(cure.after, result.model, result.twin)).model : result.model;
}

/** SQNR of a model's outputs against the float model's, dB. */
export async function outputSqnr(
  float: Model,
  model: Model,
  batches: () => AsyncIterable<Batch>,
  signal: AbortSignal,
): Promise<number> {
  return decibels(1, await outputError(float, model, batches, signal));
}

/** Tries cures on the float model that the stage quantized, and measures each at the outputs. One that does not run is left out. */
export async function tryCures(
  float: Model,
  stage: Stage,
  cures: readonly Cure[],
  tools: Instruments,
  {
    batches,
    signal,
    progress,
  }: {
    /** What the outputs are measured on. */
    readonly batches: () => AsyncIterable<Batch>;
    readonly signal: AbortSignal;
    readonly progress: (done: number, text: string) => void;
  },
): Promise<TriedCure[]> {
  const tried: TriedCure[] = [];
  for (const [i, cure] of cures.entries()) {
    progress(i / cures.length, `diagnosis: trying ${cure.label}`);
    await refusal(async () => {
      const model = await applied(float, stage, cure, tools);
      tried.push({ cure, sqnr: await outputSqnr(float, model, batches, signal) });
    });
  }
  return tried;
}

/** The schedule with a cure in it, everything else as the file has it. */
export function curedSchedule(text: string, stage: Stage, cure: Cure): string {
  const { before, after, raised, calibration, bits } = cure;
  // What the head of the file says is true no more.
  const head = /^(?:[ \t]*(?:#.*)?\n)*/.exec(text)?.[0] ?? '';
  const target = /^# made with .*\n/m.exec(head)?.[0] ?? '';
  const doc = parseDocument(text.slice(head.length));
  const at = ['quantizers', stage.instance];
  const epochs = [stage.clock.epoch];
  const add = ({ name, class: of, options }: Instance, where: 'start' | 'end'): void => {
    let fresh = name;
    for (let i = 2; doc.hasIn(['extensions', fresh]); i++) fresh = `${name}${i}`;
    doc.setIn(['extensions', fresh], doc.createNode({ class: of, ...options }, { flow: true }));
    const written = doc.get('policies');
    const list = isSeq(written) ? written : new YAMLSeq();
    if (list !== written) doc.set('policies', list);
    const { items } = list;
    // A quantizer that no policy names comes after all of them.
    const named = items.some((one) => isMap(one) && one.getIn(['quantizer', 'instance_name']) === stage.instance);
    if (!named) items.push(doc.createNode({ quantizer: { instance_name: stage.instance }, epochs }, { flow: true }));
    const policy = doc.createNode({ extension: { instance_name: fresh }, epochs, gate: 'none' }, { flow: true });
    items.splice(where === 'start' ? 0 : items.length, 0, policy);
  };
  if (before) add(before, 'start');
  if (after) add(after, 'end');
  if (raised) {
    const own = (doc.getIn([...at, 'overrides']) as { toJSON(): object } | undefined)?.toJSON() ?? {};
    doc.setIn([...at, 'overrides'], doc.createNode({ ...written(raised), ...own }, { flow: true }));
  }
  if (bits !== undefined) doc.setIn([...at, 'bits_weights'], bits);
  for (const [key, value] of Object.entries(calibration ?? {})) doc.setIn([...at, 'calibration', key], value);
  return `${target}# The schedule of a run with what its diagnosis proposes: ${cure.label}. All else is as it was.\n#\n# Command   qtool quantize model.onnx --schedule mended.yaml --data data.yaml -o out\n${doc.toString({ lineWidth: 0 })}`; // prettier-ignore
}

/** Widths as a schedule writes them. */
const written = (raised: NonNullable<Cure['raised']>): object =>
  Object.fromEntries(
    Object.entries(raised).map(([layer, widths]) => [
      layer,
      Object.fromEntries(
        Object.entries(widths as Record<string, number | null>).map(([key, bits]) => [key, bits ?? 'float']),
      ),
    ]),
  );

/** What a cure changes of a schedule: the sections that are to stand in place of the file's own of the same names. */
export function cureLines(text: string, stage: Stage, cure: Cure): string {
  const sections = (yaml: string): Map<string, unknown> => {
    const { contents } = parseDocument(yaml);
    const pairs = isMap(contents) ? contents.items : [];
    return new Map(pairs.map(({ key, value }) => [String(key), value]));
  };
  const json = (value: unknown): string => JSON.stringify(isNode(value) ? value.toJSON() : value);
  const before = sections(text);
  const changed = [...sections(curedSchedule(text, stage, cure))].filter(
    ([name, value]) => json(value) !== json(before.get(name)),
  );
  return changed.map(([name, value]) => sectionText(name, value)).join('\n');
}

function sectionText(name: string, value: unknown): string {
  const doc = new Document({});
  doc.set(name, value);
  return doc.toString({ lineWidth: 0 }).trimEnd();
}
