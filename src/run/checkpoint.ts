import { createHash } from 'node:crypto';
import { cpus } from 'node:os';
import { join } from 'node:path';
import type { Target } from '../autodiff/rule.ts';
import type { Dataset, RunData } from '../data/types.ts';
import { modelHash, readModel } from '../graph/file.ts';
import type { Model } from '../graph/model.ts';
import { weightBytes } from '../graph/tensor.ts';
import type { Metric } from '../metrics/metric.ts';
import { madeAnew, type EpochPlan } from '../passes/train/plan.ts';
import { onnxruntimeVersion } from '../runtime/onnxruntime.ts';
import { QtoolError } from '../util/error.ts';
import { given } from '../util/must.ts';
import { version } from '../util/version.ts';
import { readFrozen, writeFrozen } from './frozen.ts';
import { checkpointFile } from './output.ts';
import type { Measurement, StageReport } from './report.ts';
import type { Memories, State } from './stage.ts';

/**
 * Where a run that trains stands after an epoch: all that the epochs and stages behind it depend on. Before the first quantizer, which
 * never comes before the last epoch, that is the model and what training remembers; of later stages none is written, they are short.
 */
export interface Checkpoint {
  /** What the run was made of, by the name that a refusal calls it. */
  readonly facts: Readonly<Record<string, string>>;
  readonly machine: string;
  readonly started: number;
  /** Seconds that were worked so far. */
  readonly seconds: number;
  readonly baseline: Measurement;
  readonly reports: readonly StageReport[];
  readonly state: State;
  readonly memories: Memories;
}

interface Made {
  readonly model: Model;
  readonly scheduleText: string;
  readonly data: RunData;
  readonly metrics: readonly Metric[];
  readonly measure: boolean;
  readonly batchSize: number;
  readonly threads?: number | undefined;
  readonly device?: Target | undefined;
}

/** What must be the same for a run to go on to the same bits. */
export async function factsOf(made: Made, { training }: Pick<EpochPlan, 'training'>): Promise<Checkpoint['facts']> {
  const { teacher = 'float' } = training.distillation ?? {};
  const { model, scheduleText, data, metrics, measure, batchSize, threads, device = 'cpu' } = made;
  const of = (set: Dataset | RunData['training']): string =>
    set === undefined ? 'none' : (set.fingerprint?.() ?? JSON.stringify(set.info));
  return {
    'version of qtool': version,
    'version of onnxruntime': await onnxruntimeVersion(),
    model: modelHash(model),
    teacher: teacher === 'float' ? teacher : modelHash(await readModel(teacher)),
    schedule: createHash('sha256').update(scheduleText).digest('hex'),
    'set of training data': of(data.training),
    'choice of calibration samples': of(data.calibration),
    'choice of validation samples': of(data.validation),
    'list of metrics': measure ? metrics.map(({ name }) => name).join(', ') : 'none (--no-measure)',
    'batch size': String(batchSize),
    'number of threads': String(threads ?? 'all cores'),
    'device to train on': device,
  };
}

export const machineName = (): string => `${process.platform} ${process.arch} ${cpus()[0]?.model.trim() ?? ''}`;

/** Models above this leave no checkpoint: it holds the model as one file. */
const largest = 2 ** 30;

/**
 * Puts a checkpoint in place of the one before.
 * @returns why there is none: what was written before is then of an earlier epoch.
 */
export async function writeCheckpoint(folder: string, point: Checkpoint): Promise<string | undefined> {
  const { state, memories } = point;
  const { plan, twin, held, model } = state;
  if (plan.size > 0 || twin !== undefined || held.size > 0) return 'a model that is quantized cannot be gone on from';
  if (weightBytes(model.graph) > largest) return 'a model over 1 GiB leaves no checkpoint';
  const kept = new Map([...memories].map(([instance, memory]) => [instance, new Map([...memory].filter(([key]) => !madeAnew.has(key)))])); // prettier-ignore
  try {
    await writeFrozen(join(folder, checkpointFile), { ...point, memories: kept });
  } catch (error) {
    return (error as Error).message;
  }
  return undefined;
}

/**
 * The checkpoint of a run that was cut off in a folder.
 * @throws QtoolError('usage') where it is damaged, or of another run.
 */
export async function readCheckpoint(folder: string, facts: Checkpoint['facts']): Promise<Checkpoint> {
  const at = join(folder, checkpointFile);
  const hint = 'leave out --resume and give --force: the run then begins anew';
  const found = await readFrozen(at).catch((cause: Error) => {
    throw new QtoolError('usage', `cannot be gone on from: ${cause.message}`, { at, hint, cause });
  });
  const point = given(found, checkpointFile) as Checkpoint;
  const other = Object.keys({ ...facts, ...point.facts }).find((key) => facts[key] !== point.facts[key]);
  if (other !== undefined)
    throw new QtoolError('usage', `the run that was cut off here had another ${other}${readable(point.facts[other], facts[other])}`, { at, hint }); // prettier-ignore
  return point;
}

/** Values that tell a reader something: no hashes, no descriptions of data. */
function readable(was: string | undefined, now: string | undefined): string {
  const short = (text: string | undefined): text is string => text !== undefined && text.length < 40;
  return short(was) && short(now) ? ` (${was} then, ${now} now)` : '';
}

/** A state that was read, in which the model is the float model itself where no stage changed it. */
export const withFloat = (state: State, float: Model): State => ({
  ...state,
  ...(state.stages.length === 0 ? { model: float } : {}),
  ...(state.safe ? { safe: withFloat(state.safe, float) } : {}),
});
