import { checkModel } from '../graph/check.ts';
import { readModel } from '../graph/file.ts';
import { decodeModel, type Model } from '../graph/model.ts';
import type { RunEvent } from '../run/event.ts';
import type { RecipeTrial } from '../run/recipe_trial.ts';

/** A model: the path of an .onnx file, its bytes, or one that was read before. */
export type ModelGiven = string | Uint8Array | Model;

/** What every call takes to be watched and ended. */
export interface Watch {
  /** Told what is being done, and how far it is. */
  readonly onProgress?: ((event: RunEvent) => void) | undefined;
  /** Told what the float model made of every known preprocessing, where images come without one. */
  readonly onRecipes?: ((trial: RecipeTrial) => void) | undefined;
  /** Ends the call after the batch at work; its promise is then rejected with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** A model that qtool can work on. @throws QtoolError('model'). */
export async function openModel(given: ModelGiven): Promise<Model> {
  const model =
    typeof given === 'string' ? await readModel(given) : given instanceof Uint8Array ? decodeModel(given) : given;
  checkModel(model);
  return model;
}

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
