import { mxFormat } from './mx.ts';

export const mxfp6 = mxFormat('mxfp6', 'blocks of 32 6-bit floating-point numbers that share a power of two', [
  'e2m3',
  'e3m2',
]);
