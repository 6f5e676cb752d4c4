import { mxFormat } from './mx.ts';

export const mxfp8 = mxFormat('mxfp8', 'blocks of 32 8-bit floating-point numbers that share a power of two', [
  'e4m3',
  'e5m2',
]);
