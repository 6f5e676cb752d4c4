import { compare as compared, type CompareOptions } from '../../api/compare.ts';
import { compareText } from '../../report/compare.ts';
import type { Call } from '../call.ts';
import { exit } from '../errors.ts';
import { watched } from '../watched.ts';

export interface CompareCommandOptions extends Omit<CompareOptions, 'a' | 'b'> {
  readonly data: string;
}

/** `qtool compare`: two forms of one model side by side. */
export async function compare(a: string, b: string, options: CompareCommandOptions, call: Call): Promise<number> {
  const report = await watched(call, (watch) => compared({ ...options, ...watch, a, b }));
  call.answer(report, () => compareText(report, call.paint, call.width));
  return exit.ok;
}
