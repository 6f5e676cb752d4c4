import { evaluate as measured, type EvaluateOptions } from '../../api/evaluate.ts';
import { evalText } from '../../report/eval.ts';
import type { Call } from '../call.ts';
import { answered } from '../watched.ts';

/** `qtool eval`: a model on the validation data, also against a float model. */
export const evaluate = (model: string, options: Omit<EvaluateOptions, 'model'>, call: Call): Promise<number> =>
  answered(call, (watch) => measured({ ...options, ...watch, model }), evalText);
