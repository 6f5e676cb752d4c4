import { compare as compared, type CompareOptions } from '../../api/compare.ts';
import { compareText } from '../../report/compare.ts';
import type { Call } from '../call.ts';
import { answered } from '../watched.ts';

type Options = Omit<CompareOptions, 'a' | 'b'>;

/** `qtool compare`: two forms of one model side by side. */
export const compare = (a: string, b: string, options: Options, call: Call): Promise<number> =>
  answered(call, (watch) => compared({ ...options, ...watch, a, b }), compareText);
