import type { DType, TypedArray } from '../graph/dtype.ts';
import type { ModelInput } from '../graph/query.ts';
import type { Modules } from '../util/module.ts';
import type { Path } from '../util/yaml.ts';
import type { ImageChange } from './image_change.ts';
import type { Transforms } from './transforms.ts';
import type { DatasetInfo, Sample } from './types.ts';

/** What a kind of source hands on: its samples, in the order of the files. */
export type Source = IndexedSource | StreamSource;

interface SourceFacts {
  readonly kind: DatasetInfo['kind'];
  /** What was opened, for reports. */
  readonly source: string;
  readonly length: number;
  readonly labelled: boolean;
  readonly notes: readonly string[];
  /** Samples are made of 8-bit images. */
  readonly pixels?: boolean;
  /** How samples are made from files, and which files were opened: what a fingerprint begins with. */
  readonly recipe?: string;
}

/** Samples that can be read in any order, so that splits and shuffles are lists of indexes. */
export interface IndexedSource extends SourceFacts {
  readonly access: 'index';
  /** What a sample is, wherever it is listed: equal in two sources when both would read the same. */
  identity(index: number): string;
  /** The files a sample is read from, where the config does not name them themselves. */
  files?(index: number): readonly string[];
  /** The first index of each block (Parquet row group) where samples are read by blocks: to read them in any other order costs much more. */
  readonly blocks?: readonly number[];
  /** Opens what the samples are read from, for one pass over them. */
  open(): Promise<Reader>;
}

/** One pass over an indexed source. `read` may be called for several samples at once. */
export interface Reader {
  /**
   * @param over the number of a place whose last sample is no longer needed: its arrays may be written over.
   * @param change what chance makes of the sample's images; sources of finished tensors leave that to who reads them.
   */
  read(index: number, over?: number, change?: ImageChange): Sample | Promise<Sample>;
  close(): void | Promise<void>;
}

/** Samples that only come one after the other (user modules). */
export interface StreamSource extends SourceFacts {
  readonly access: 'stream';
  stream(): AsyncIterable<Sample>;
}

/** What the opener of a source may ask. */
export interface Opening {
  readonly inputs: readonly ModelInput[];
  /** Names of the model's outputs, where known. */
  readonly outputs: readonly string[];
  /** Number of classes the model tells apart, where known. */
  readonly classes: number | undefined;
  readonly seed: number;
  readonly modules: Modules;
  /** How many samples are looked at: a source that has to count its own need not count further. */
  readonly most: number;
  readonly signal: AbortSignal | undefined;
  /** The file's transforms with those of the source over them. */
  readonly transforms: Transforms;
  /** Where a key of the source stands (`file:line:col`); undefined for sources that no file describes. */
  readonly at: (...key: Path) => string | undefined;
  /** The absolute path of a file or folder named in the config. @throws QtoolError where it does not exist. */
  find(path: string, ...key: Path): string;
}

/** A dense array of rows along axis 0, wherever it is held. */
export interface Rows {
  /** File, and the array in it. */
  readonly name: string;
  readonly type: DType;
  /** Shape with the row axis first. */
  readonly dims: readonly number[];
  open(): RowReader;
}

export interface RowReader {
  /** The elements of one row. The array is valid until the next call. */
  row(index: number): TypedArray;
  close(): void;
}

const madeElsewhere: ReadonlySet<DatasetInfo['kind']> = new Set(['onnx', 'module', 'memory', 'random', 'text', 'wav']);
/** Whether sources of this kind give finished tensors. */
export const isMadeElsewhere = (kind: DatasetInfo['kind']): boolean => madeElsewhere.has(kind);
