import { checkModel } from '../graph/check.ts';
import { readModel } from '../graph/file.ts';
import { decodeModel, type Model } from '../graph/model.ts';
import type { RunEvent } from '../run/event.ts';
import { QtoolError } from '../util/error.ts';
import { nearest } from '../util/suggest.ts';
import { words } from '../util/words.ts';
import type { RecipeTrial } from '../run/recipe_trial.ts';

/** A model: the path of an .onnx file, its bytes, or one that was read before. */
export type ModelGiven = string | Uint8Array | ArrayBuffer | Model;

/** What every call takes to be watched and ended. */
export interface Watch {
  /** Told what is being done, and how far it is. */
  readonly onProgress?: ((event: RunEvent) => void) | undefined;
  /** Told what the float model made of every known preprocessing, where images come without one. */
  readonly onRecipes?: ((trial: RecipeTrial) => void) | undefined;
  /** Ends the call after the batch at work; its promise is then rejected with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

const counts = { samples: 1, limit: 1, batchSize: 1, threads: 1, memoryLimit: 1, seed: 0 } as const;
const others = words(
  'model archive schedule data reference a b output force resume measure latency gzip cache metrics passes target device onProgress onRecipes signal dataRoot allowModules preprocess scale mean std layout resize dims minmax bits weights activations sweep layers importance zeros schemes multiplierBits accumulator exitThreshold thresholds',
);
const known = [...Object.keys(counts), ...others];

/**
 * What JavaScript does not check of a call's one argument: that what it needs is there, that numbers are numbers, and that a name is no slip
 * of another. @throws QtoolError('usage').
 */
export function checkCall(call: string, options: object, needs: readonly string[]): void {
  const refuse = (message: string): never => {
    throw new QtoolError('usage', `${call}: ${message}`, { hint: 'docs/library.md says what it takes' });
  };
  const given: unknown = options;
  if (typeof given !== 'object' || given === null) return refuse('an object of options is expected');
  const all = new Map<string, unknown>(Object.entries(given));
  for (const name of needs) if (all.get(name) === undefined) refuse(`"${name}" is missing`);
  for (const [name, value] of all) {
    const least = Object.hasOwn(counts, name) ? counts[name as keyof typeof counts] : undefined;
    if (least !== undefined && value !== undefined && !(Number.isSafeInteger(value) && Number(value) >= least))
      refuse(`"${name}" must be a whole number of at least ${least}`);
    const meant = known.includes(name) ? undefined : nearest(name, known);
    if (meant !== undefined) refuse(`unknown option "${name}" (did you mean "${meant}"?)`);
  }
}

/** A model that qtool can work on. @throws QtoolError('model'). */
export async function openModel(given: ModelGiven): Promise<Model> {
  const bytes = bytesOf(given);
  const model = typeof given === 'string' ? await readModel(given) : bytes ? decodeModel(bytes) : (given as Model);
  if (typeof given !== 'string' && !bytes && !isModel(given))
    throw new QtoolError('model', `this is no model but ${told(given)}`, { hint: 'give the path of an .onnx file, its bytes, or what readModel, decodeModel or edit gave' }); // prettier-ignore
  checkModel(model);
  return model;
}

/** Those of an .onnx file; of another realm too, which `instanceof` does not know. */
function bytesOf(given: unknown): Uint8Array | undefined {
  if (given instanceof Uint8Array) return given;
  const kind = Object.prototype.toString.call(given);
  if (kind === '[object ArrayBuffer]' || kind === '[object SharedArrayBuffer]')
    return new Uint8Array(given as ArrayBuffer);
  if (kind !== '[object Uint8Array]') return undefined;
  const { buffer, byteOffset, byteLength } = given as Uint8Array;
  return new Uint8Array(buffer, byteOffset, byteLength);
}

const isModel = (given: unknown): boolean =>
  typeof given === 'object' && given !== null && ['proto', 'graph'].every((key) => typeof (given as Record<string, unknown>)[key] === 'object'); // prettier-ignore

const told = (given: unknown): string =>
  given === null || typeof given !== 'object' ? String(given) : Object.prototype.toString.call(given).slice('[object '.length, -1); // prettier-ignore

/** Does work under a signal: whatever error an abort brings about, the caller gets the signal's reason, as of fetch(). */
export async function abortable<T>(
  given: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const signal = given ?? new AbortController().signal;
  signal.throwIfAborted();
  try {
    return await work(signal);
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}
