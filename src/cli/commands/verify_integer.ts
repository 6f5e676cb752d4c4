import { verifyInteger, type VerifyIntegerOptions } from '../../api/verify_integer.ts';
import { integerText } from '../../report/integer.ts';
import type { Call } from '../call.ts';
import { answered } from '../watched.ts';

type Options = Omit<VerifyIntegerOptions, 'model' | 'schemes'> & { readonly schemes?: string };

/** `qtool verify-integer`: a quantized model executed as integer devices do, beside onnxruntime. */
export const verify = (model: string, { schemes, ...options }: Options, call: Call): Promise<number> =>
  answered(
    call,
    (watch) => verifyInteger({ ...options, ...watch, model, schemes: schemes?.split(',').map((name) => name.trim()) }),
    integerText,
  );
