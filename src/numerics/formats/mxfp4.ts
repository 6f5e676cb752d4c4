import { mxFormat } from './mx.ts';

export const mxfp4 = mxFormat('mxfp4', 'blocks of 32 4-bit floating-point numbers that share a power of two', ['e2m1']);
