import { evaluate as measured, type EvaluateOptions } from '../../api/evaluate.ts';
import { evalText } from '../../report/eval.ts';
import type { Call } from '../call.ts';
import { exit } from '../errors.ts';
import { watched } from '../watched.ts';

export interface EvalOptions extends Omit<EvaluateOptions, 'model'> {
  readonly data: string;
  readonly reference?: string;
}

/** `qtool eval`: a model on the validation data, also against a float model. */
export async function evaluate(model: string, options: EvalOptions, call: Call): Promise<number> {
  const report = await watched(call, (watch) => measured({ ...options, ...watch, model }));
  call.answer(report, () => evalText(report, call.paint, call.width));
  return exit.ok;
}
