import type { GraphProto, ModelProto } from './proto.ts';

/**
 * A model as a frozen value: the decoded protobuf messages are shared between models and never changed in place, so that
 * keeping the previous model costs kilobytes. `edit()` is the only way to a changed one.
 */
export interface Model {
  readonly proto: Readonly<ModelProto>;
  readonly graph: Readonly<GraphProto>;
  /** Where it was read from; undefined for graphs made in memory. */
  readonly path: string | undefined;
  /** The bytes it was read from, while unedited: written back as they are. */
  readonly source: Uint8Array | undefined;
}
