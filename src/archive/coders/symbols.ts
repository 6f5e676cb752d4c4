/** A stream: symbols below its alphabet, which has more than 256 only for codebooks. */
export type Symbols = Uint8Array | Uint16Array;
