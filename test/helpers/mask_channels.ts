import type { TypedArray } from '../../src/graph/dtype.ts';
import { edit } from '../../src/graph/edit.ts';
import type { Model } from '../../src/graph/model.ts';
import { constantTensor, storedTensors } from '../../src/graph/query.ts';
import { dimsOf, makeTensor, tensorData, typeOf } from '../../src/graph/tensor.ts';
import { stridesOf } from '../../src/graph/channels/ints.ts';
import type { Channels, Member } from '../../src/graph/channels/types.ts';

/**
 * Zeros the slices of these atoms in the members that `which` picks; by default all that make a channel (filters) or add to it
 * (biases, norm shifts), after which the channel is zero wherever it goes.
 */
export function maskChannels(
  model: Model,
  channels: Channels,
  atoms: ReadonlySet<number>,
  which: (member: Member) => boolean = ({ role }) => role === 'out' || role === 'bias',
): Model {
  const stored = storedTensors(model);
  const masked = new Map<string, TypedArray>();
  for (const member of channels.members) {
    if (!which(member) || !member.atoms.some((atom) => atoms.has(atom))) continue;
    const tensor = stored.get(member.tensor);
    if (!tensor) continue;
    const data = masked.get(member.tensor) ?? tensorData(tensor).slice();
    const dims = dimsOf(tensor);
    const [stride, size] = [stridesOf(dims)[member.axis]!, dims[member.axis]!];
    const zero = (typeof data[0] === 'bigint' ? 0n : 0) as never;
    for (let i = 0; i < data.length; i++) if (atoms.has(member.atoms[Math.floor(i / stride) % size]!)) data[i] = zero;
    masked.set(member.tensor, data);
  }
  if (masked.size === 0) return model;
  return edit(model, (draft) => {
    for (const node of draft.nodes()) if (constantTensor(node) && masked.has(node.output[0]!)) draft.removeNode(node);
    for (const [name, data] of masked) {
      const tensor = stored.get(name);
      if (tensor) draft.replace(name, makeTensor(name, typeOf(tensor), dimsOf(tensor), data));
    }
  });
}
