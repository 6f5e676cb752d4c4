import { dimsOf, typeOf } from '../../graph/tensor.ts';
import type { Note } from '../pass.ts';
import { candidatesFor } from './candidates.ts';
import type { Encoding, FormName } from './form.ts';
import { groupsOf, joined, writeGroup } from './group.ts';
import { initializerBytes, record, typicalNames } from './store.ts';
import type { Target } from './targets.ts';

/** Tensors that are stored as one, and how. */
export interface Storage {
  readonly members: readonly Target[];
  readonly encoding: Encoding;
  /** Bytes in the file before, and now without what decoders share. */
  readonly before: number;
  readonly after: number;
}

/** How the tensors of a model will be stored. */
export interface Plan {
  /** Bytes of all tensors and decoders in the file. */
  readonly bytes: number;
  readonly storages: readonly Storage[];
  /** Weights that stay as they are, and why. */
  readonly left: readonly Note[];
}

export interface PlanOptions {
  readonly forms: ReadonlySet<FormName>;
  readonly opset: number;
  /** Bytes of memory that decoding may take. */
  readonly memory: number;
}

/**
 * Tensors that are alike are joined; each group takes the form that makes the file smallest, the largest group first, since
 * what decoders share (tables, shapes) is paid by the first. The memory is shared out by elements, so that all decoders
 * together stay within it.
 */
export function planFor(targets: readonly Target[], { forms, opset, memory }: PlanOptions): Plan {
  const elements = targets.reduce((sum, { source }) => sum + source.count, 0);
  const groups = groupsOf(targets.map(({ source }) => source))
    .map((indices) => indices.map((i) => targets[i] as Target))
    .map((members) => ({ members, before: sum(members.map(storedBytes)) }))
    .sort((a, b) => b.before - a.before);
  const paid = new Set<string>();
  const storages: Storage[] = [];
  const left: Note[] = [];
  let bytes = 0;
  for (const { members, before } of groups) {
    const group = members.map(({ source }) => source);
    const whole = joined(group);
    const names = members.map(({ tensor }) => tensor.name);
    const priced = candidatesFor(whole, forms, opset)
      .filter(({ work }) => work <= (memory * whole.count) / elements)
      .map((encoding) => {
        const { own, shared } = record((store) => writeGroup(store, encoding, group, names), typicalNames());
        const first = [...shared].filter(([key]) => !paid.has(key)).map(([, part]) => part.bytes);
        return { encoding, after: own.bytes, keys: shared.keys(), all: own.bytes + sum(first) };
      });
    const best = priced.reduce<(typeof priced)[number] | undefined>((a, b) => (a && a.all <= b.all ? a : b), undefined);
    if (best && best.all < before) {
      storages.push({ members, encoding: best.encoding, before, after: best.after });
      for (const key of best.keys) paid.add(key);
    } else {
      const why = best ? `${best.encoding.detail} would save nothing` : 'no form holds it in fewer bytes';
      left.push(...members.map(({ layer, tensor }) => ({ layer, text: `${tensor.name}: ${why}` })));
    }
    bytes += best ? Math.min(before, best.all) : before;
  }
  return { bytes, storages, left };
}

const storedBytes = ({ tensor }: Target): number => initializerBytes(tensor.name, typeOf(tensor), dimsOf(tensor));
const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
