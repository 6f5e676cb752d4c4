// What the reader of archives calls often, by names that a minifier may shorten.
const all = globalThis;
export const bytes8 = all.Uint8Array;
export const words16 = all.Uint16Array;
export const words32 = all.Uint32Array;
export const integers = all.Int32Array;
export const { abs, imul, min, max, floor, clz32 } = Math;
