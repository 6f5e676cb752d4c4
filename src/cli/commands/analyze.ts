import { analyze as analysed, type AnalyzeOptions } from '../../api/analyze.ts';
import { analysisText } from '../../report/analysis.ts';
import type { Call } from '../call.ts';
import { answered } from '../watched.ts';

/** `qtool analyze`: what quantization noise does in a model, and the widths the closed form would give its layers. */
export const analyze = (model: string, options: Omit<AnalyzeOptions, 'model'>, call: Call): Promise<number> =>
  answered(call, (watch) => analysed({ ...options, ...watch, model }), analysisText);
