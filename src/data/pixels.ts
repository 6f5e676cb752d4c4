/** An image, rows from the top, channels together: `data` is [height, width, channels]. */
export interface Pixels<T extends PixelData = PixelData> {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly data: T;
}

export type PixelData = Uint8Array | Float32Array | Float64Array | Int8Array | Int16Array | Uint16Array | Int32Array;

/** RGB → one channel of ITU-R 601-2 luma, as PIL's `convert("L")`: L = 0.299 R + 0.587 G + 0.114 B in 16-bit fixed point. */
export function toGrey({ width, height, channels, data }: Pixels<Uint8Array>): Pixels<Uint8Array> {
  if (channels === 1) return { width, height, channels, data };
  const out = new Uint8Array(width * height);
  for (let i = 0, s = 0; i < out.length; i++, s += channels)
    out[i] = (data[s]! * 19595 + data[s + 1]! * 38470 + data[s + 2]! * 7471 + 0x8000) >> 16;
  return { width, height, channels: 1, data: out };
}
