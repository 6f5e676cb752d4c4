import { analyze as analysed, type AnalyzeOptions } from '../../api/analyze.ts';
import { analysisText } from '../../report/analysis.ts';
import type { Call } from '../call.ts';
import { exit } from '../errors.ts';
import { watched } from '../watched.ts';

export interface AnalyzeCommandOptions extends Omit<AnalyzeOptions, 'model'> {
  readonly data: string;
}

/** `qtool analyze`: what quantization noise does in a model, and the widths the closed form would give its layers. */
export async function analyze(model: string, options: AnalyzeCommandOptions, call: Call): Promise<number> {
  const report = await watched(call, (watch) => analysed({ ...options, ...watch, model }));
  call.answer(report, () => analysisText(report, call.paint, call.width));
  return exit.ok;
}
