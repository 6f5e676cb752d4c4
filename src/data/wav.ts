import { dataError } from './errors.ts';

/** A sound: one value a sample in −1 to 1, channels mixed to their mean. */
export interface Sound {
  readonly rate: number;
  readonly length: number;
  /** `count` values from `from` on; silence beyond the end. */
  values(from: number, count: number): Float32Array;
}

/** How one value is stored: its bytes, and how they are read, scaled to −1 to 1. */
interface Coding {
  readonly bytes: number;
  read(view: DataView, at: number): number;
}

const integers: Readonly<Record<number, Coding>> = {
  // The only unsigned one.
  8: { bytes: 1, read: (view, at) => (view.getUint8(at) - 128) / 128 },
  16: { bytes: 2, read: (view, at) => view.getInt16(at, true) / 2 ** 15 },
  24: { bytes: 3, read: (view, at) => (view.getUint16(at, true) / 2 ** 8 + view.getInt8(at + 2) * 2 ** 8) / 2 ** 15 },
  32: { bytes: 4, read: (view, at) => view.getInt32(at, true) / 2 ** 31 },
};
const floats: Readonly<Record<number, Coding>> = {
  32: { bytes: 4, read: (view, at) => view.getFloat32(at, true) },
  64: { bytes: 8, read: (view, at) => view.getFloat64(at, true) },
};

/**
 * Reads a WAV file: PCM of 8, 16, 24 and 32 bits and IEEE floats, plain or "extensible". Chunks other than `fmt ` and `data` are passed over.
 * Source: Microsoft and IBM, Multimedia Programming Interface and Data Specifications 1.0 (1991); WAVEFORMATEXTENSIBLE, Microsoft 2001.
 * @throws QtoolError `data` for what is none, is damaged, or is coded otherwise.
 */
export function readWav(bytes: Uint8Array, file: string): Sound {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (at: number): string => String.fromCharCode(...bytes.subarray(at, at + 4));
  if (bytes.length < 12 || text(0) !== 'RIFF' || text(8) !== 'WAVE') throw dataError('is no WAV file', file);
  let format: Format | undefined;
  for (let at = 12; at + 8 <= bytes.length;) {
    const [name, size, start] = [text(at), view.getUint32(at + 4, true), at + 8];
    if (name === 'fmt ') format = formatOf(view, start, size, file);
    if (name === 'data') {
      if (format === undefined) throw dataError('has its data before its format', file);
      // What is written to a pipe does not know its size.
      const open = size === 0xffffffff;
      if (!open && start + size > bytes.length) throw dataError(`ends before its data does: ${bytes.length - start} of ${size} bytes`, file); // prettier-ignore
      return soundOf(view, start, open ? bytes.length - start : size, format);
    }
    // Chunks begin at even places.
    at = start + size + (size % 2);
  }
  throw dataError('has no data', file);
}

interface Format {
  readonly coding: Coding;
  readonly channels: number;
  readonly rate: number;
}

function formatOf(view: DataView, start: number, size: number, file: string): Format {
  if (size < 16 || start + size > view.byteLength) throw dataError('has a damaged format', file);
  const extensible = view.getUint16(start, true) === 0xfffe && size >= 40;
  const kind = view.getUint16(extensible ? start + 24 : start, true);
  const [channels, rate] = [view.getUint16(start + 2, true), view.getUint32(start + 4, true)];
  const bits = view.getUint16(start + 14, true);
  const coding = kind === 1 ? integers[bits] : kind === 3 ? floats[bits] : undefined;
  if (coding === undefined)
    throw dataError(`is coded as format ${kind} of ${bits} bits`, file, 'PCM of 8, 16, 24 or 32 bits and floats of 32 or 64 are read.'); // prettier-ignore
  if (channels === 0 || rate === 0 || view.getUint16(start + 12, true) !== channels * coding.bytes) throw dataError('has a damaged format', file); // prettier-ignore
  return { coding, channels, rate };
}

function soundOf(view: DataView, start: number, size: number, { coding, channels, rate }: Format): Sound {
  const width = coding.bytes * channels;
  const length = Math.floor(size / width);
  return {
    rate,
    length,
    values(from, count) {
      const mixed = new Float32Array(count);
      for (let i = 0; i < Math.min(count, length - from); i++) {
        let sum = 0;
        for (let c = 0; c < channels; c++) sum += coding.read(view, start + (from + i) * width + c * coding.bytes);
        mixed[i] = sum / channels;
      }
      return mixed;
    },
  };
}
