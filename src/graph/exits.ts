import { QtoolError } from '../util/error.ts';
import type { Draft } from './edit.ts';
import type { Model } from './model.ts';
import type { ValueInfoProto } from './proto.ts';

/** An early exit: an output of class scores, [samples, classes], that a small branch makes of an inner value. */
export interface Exit {
  readonly output: string;
  /** The value that its branch begins at. */
  readonly at: string;
  /** Its share of the loss while training. */
  readonly weight: number;
  /** A sample leaves here where the entropy of its scores is no larger: nats, from 0 to the logarithm of the number of classes. */
  readonly threshold: number;
}

/** Under this key the metadata of a model lists its exits, first to last, as JSON: what goes through other tools stays one ONNX file. */
const key = 'qtool.early_exits';

/** The early exits of a model, first to last. @throws QtoolError('model') for an entry of its metadata that is damaged. */
export function exitsOf(model: Pick<Model, 'proto' | 'graph' | 'path'>): Exit[] {
  const text = model.proto.metadata_props.find((entry) => entry.key === key)?.value;
  if (text === undefined) return [];
  const outputs = new Set(model.graph.output.map(({ name }) => name));
  // Values of a model may be looked at without its exits.
  return parsed(text, model.path).filter(({ output }) => outputs.has(output));
}

function parsed(text: string, path: string | undefined): Exit[] {
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch {
    list = undefined;
  }
  if (Array.isArray(list) && list.every(isExit)) return list;
  throw new QtoolError('model', `its metadata "${key}" is no list of early exits`, {
    at: path,
    hint: 'another tool changed it: remove the entry, or write the model anew',
  });
}

function isExit(value: unknown): value is Exit {
  if (typeof value !== 'object' || value === null) return false;
  const { output, at, weight, threshold } = value as Record<string, unknown>;
  return typeof output === 'string' && typeof at === 'string' && [weight, threshold].every(Number.isFinite);
}

/** Says which outputs of the model that is edited are exits; none: it has none. */
export function setExits(draft: Draft, exits: readonly Exit[]): void {
  draft.setMetadata(key, exits.length === 0 ? undefined : JSON.stringify(exits));
}

/** A model's outputs without its early exits. */
export function ownOutputs(model: Model): ValueInfoProto[] {
  const exits = new Set(exitsOf(model).map(({ output }) => output));
  return model.graph.output.filter(({ name }) => !exits.has(name));
}
