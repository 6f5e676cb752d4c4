import type { BlobFacts } from '../archive/pack_blob.ts';
import { bytes, grouped, hanging, percent, shorten } from './format.ts';
import type { Paint } from './paint.ts';
import { right, table } from './table.ts';

/** What `qtool pack` made: plain data, printed as text or JSON. */
export interface PackReport {
  readonly format: 1;
  readonly model: string;
  readonly archive: string;
  /** Of the model with its external data. */
  readonly bytes: number;
  /** Bytes of the archive. */
  readonly packed: number;
  /** Bytes of the same files by brotli -11; undefined where that was not asked for. */
  readonly brotli: number | undefined;
  /** By zstd -19; undefined where this Node.js has none either. */
  readonly zstd: number | undefined;
  /** Bytes of what is no stored tensor, and of the head that holds it with the descriptions of all tensors. */
  readonly rest: { readonly bytes: number; readonly head: number };
  readonly tensors: readonly ArchivedTensorReport[];
}

/** A tensor that is stored by itself, in the columns of Deep Compression. */
export interface ArchivedTensorReport extends BlobFacts {
  /** Empty for one that has no name. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly bytes: number;
  /** Bytes in the archive, with its description. */
  readonly packed: number;
}

/** What `qtool unpack` wrote. */
export interface UnpackReport {
  readonly format: 1;
  readonly archive: string;
  /** The model's file first. */
  readonly files: readonly { readonly path: string; readonly bytes: number }[];
}

/** What `qtool pack` prints: Deep Compression's columns for each tensor, then the whole beside what general compressors make of it. */
export function packText(report: PackReport, paint: Paint, width: number): string {
  const columns = [{ title: 'tensor' }, right('weights'), right('kept'), right('weight bits'), right('index bits'), right('bytes'), right('rate'), { title: 'stored as' }]; // prettier-ignore
  const rows = report.tensors.map((one) => [
    shorten(one.name === '' ? '(no name)' : one.name, 36),
    grouped(one.elements),
    percent(one.kept / Math.max(1, one.elements)),
    change(one.weightBits),
    change(one.indexBits),
    grouped(one.packed),
    percent(one.packed / one.bytes),
    one.form,
  ]);
  const ratio = (size: number): string => percent(report.packed / size - 1);
  const beside = [
    ...(report.brotli === undefined ? [] : [`brotli -11 makes ${grouped(report.brotli)} bytes of it (this is ${ratio(report.brotli)})`]), // prettier-ignore
    ...(report.zstd === undefined ? [] : [`zstd -19 ${grouped(report.zstd)} (${ratio(report.zstd)})`]),
    ...(report.brotli !== undefined && report.zstd === undefined ? ['zstd is not in this Node.js'] : []),
  ];
  return [
    rows.length > 0 ? table(columns, rows, paint, width) : '',
    paint.dim(hanging('', `all else: ${bytes(report.rest.bytes)}, with what describes the tensors ${bytes(report.rest.head)}`, width)), // prettier-ignore
    paint.bold(hanging('', `${report.archive}: ${grouped(report.packed)} bytes, ${percent(report.packed / report.bytes)} of ${report.model}, ${(report.bytes / report.packed).toFixed(1)}× smaller`, width)), // prettier-ignore
    beside.length > 0 ? hanging('', beside.join('; '), width) : '',
  ]
    .filter((part) => part !== '')
    .join('\n\n');
}

function change([before, after]: readonly [number, number]): string {
  if (before === 0 && after === 0) return '';
  return `${before} → ${after === 0 ? '·' : after.toFixed(2)}`;
}

export const unpackText = ({ files }: UnpackReport): string =>
  files.map((file) => `${file.path}: ${grouped(file.bytes)} bytes`).join('\n');
