import { pack as packed, unpack as unpacked, type PackOptions, type UnpackOptions } from '../../api/archive.ts';
import { packText, unpackText } from '../../report/archive.ts';
import type { Call } from '../call.ts';
import { answered } from '../watched.ts';

/** `qtool pack`: a model as a small archive. */
export const pack = (model: string, options: Omit<PackOptions, 'model'>, call: Call): Promise<number> =>
  answered(call, (watch) => packed({ ...options, ...watch, model }), packText);

/** `qtool unpack`: the model out of it, byte for byte. */
export const unpack = (archive: string, options: Omit<UnpackOptions, 'archive'>, call: Call): Promise<number> =>
  answered(call, (watch) => unpacked({ ...options, ...watch, archive }), unpackText);
