import type { Model } from '../model.ts';
import type { NodeProto, TensorProto } from '../proto.ts';
import { isOp, layerName, producers, storedTensors } from '../query.ts';
import type { Shapes } from '../shapes.ts';
import { dimsOf } from '../tensor.ts';
import { fixed } from './atoms.ts';
import type { Axis, Role } from './flow.ts';
import { traceChannels, type Trace } from './trace.ts';
import type { ChannelGroup, Channels, Member } from './types.ts';

/**
 * Finds the sets of channels that must be cut together. Every axis of every value is labelled with atoms; every operator states
 * which labels are equal and which must stay (the method is union-find over elements, as in DepGraph, Fang et al. 2023,
 * arXiv 2301.12900, but by index and not by layer, so that Concat, Slice and padded shortcuts are exact).
 */
export function channelGroups(model: Model, shapes: Shapes): Channels {
  const trace = traceChannels(model, shapes);
  const stored = storedTensors(model);
  const sources = roleSources(model, trace, stored);
  const number = numberAtoms(trace, sources);
  const renumber = (axis: Axis): Axis => {
    const labels = axis?.map((atom) => (atom === fixed ? fixed : (number.get(trace.atoms.find(atom)) ?? fixed)));
    return labels?.some((atom) => atom !== fixed) ? labels : undefined;
  };
  const axes = new Map([...trace.axes].map(([name, labels]) => [name, labels.map(renumber)]));
  const members = sources.flatMap(({ node, tensor, axis, role }): Member[] => {
    const atoms = axes.get(tensor)?.[axis];
    return atoms ? [{ node, layer: layerName(node), tensor, axis, role, atoms }] : [];
  });
  const { atoms: _atoms, roles: _roles, unknown: _unknown, ...rest } = trace;
  return { ...rest, axes, members, groups: groupAtoms(members), frozen: frozenLayers(trace, sources, stored), shapes };
}

interface Source {
  readonly node: NodeProto;
  readonly tensor: string;
  readonly axis: number;
  readonly role: Role;
}

/**
 * The stored tensors behind the operands that layers named: a weight may be reached through Reshape, Transpose or
 * DequantizeLinear, and is then found by the atoms it shares with the operand.
 */
function roleSources(model: Model, trace: Trace, stored: ReadonlyMap<string, TensorProto>): Source[] {
  const producer = producers(model.graph);
  const views = ['Reshape', 'Transpose', 'Identity', 'Cast', 'Squeeze', 'Unsqueeze', 'Flatten', 'DequantizeLinear'];
  const sources: Source[] = [];
  for (const { node, place, role } of trace.roles) {
    if (stored.has(place.value)) {
      sources.push({ node, tensor: place.value, axis: place.axis, role });
      continue;
    }
    let name = place.value;
    for (let from = producer.get(name); from && isOp(from, ...views); from = producer.get(name))
      name = from.input[0] ?? '';
    const wanted = trace.axes.get(place.value)?.[place.axis];
    if (!stored.has(name) || !wanted) continue;
    const roots = new Set([...wanted].map((atom) => (atom === fixed ? fixed : trace.atoms.find(atom))));
    trace.axes.get(name)?.forEach((labels, axis) => {
      if (labels?.some((atom) => atom !== fixed && roots.has(trace.atoms.find(atom))))
        sources.push({ node, tensor: name, axis, role });
    });
  }
  const seen = new Set<string>();
  return sources.filter(({ node, tensor, axis, role }) => {
    const key = JSON.stringify([layerName(node), tensor, axis, role]);
    return !seen.has(key) && seen.add(key);
  });
}

/** Atoms that a layer makes and that may go, numbered in the order of the layers. */
function numberAtoms(trace: Trace, sources: readonly Source[]): Map<number, number> {
  const number = new Map<number, number>();
  for (const { tensor, axis, role } of sources) {
    if (role !== 'out') continue;
    trace.axes.get(tensor)?.[axis]?.forEach((atom) => {
      if (atom === fixed || trace.atoms.reason(atom) !== undefined) return;
      const root = trace.atoms.find(atom);
      if (!number.has(root)) number.set(root, number.size);
    });
  }
  return number;
}

/** Atoms that stand in one layer's output axis are of one group. */
function groupAtoms(members: readonly Member[]): ChannelGroup[] {
  const outs = members.filter((member) => member.role === 'out');
  const groups: { atoms: Set<number>; layers: Set<string> }[] = [];
  for (const { atoms, layer } of outs) {
    const mine = { atoms: new Set([...atoms].filter((atom) => atom !== fixed)), layers: new Set([layer]) };
    for (const other of groups.filter((group) => [...mine.atoms].some((atom) => group.atoms.has(atom)))) {
      mine.atoms = new Set([...other.atoms, ...mine.atoms]);
      mine.layers = new Set([...other.layers, ...mine.layers]);
      groups.splice(groups.indexOf(other), 1);
    }
    groups.push(mine);
  }
  return groups
    .map((group) => ({ atoms: [...group.atoms].sort((a, b) => a - b), layers: [...group.layers] }))
    .sort((a, b) => a.atoms[0]! - b.atoms[0]!)
    .map((group, id) => ({ id, ...group }));
}

function frozenLayers(
  trace: Trace,
  sources: readonly Source[],
  stored: ReadonlyMap<string, TensorProto>,
): { layer: string; text: string }[] {
  const frozen: { layer: string; text: string }[] = [];
  for (const { node, tensor, axis, role } of sources) {
    if (role !== 'out') continue;
    const labels = trace.axes.get(tensor)?.[axis];
    const reasons = [...(labels ?? [])].flatMap((atom) =>
      atom === fixed ? ['it must stay'] : (trace.atoms.reason(atom) ?? []),
    );
    const total = labels?.length ?? 0;
    if (total > 0 && reasons.length === 0) continue;
    const some = reasons.length < total ? `${reasons.length} of ${total} channels ` : '';
    frozen.push({ layer: layerName(node), text: `${some}cannot be cut: ${reasons[0] ?? 'it has one channel'}` });
  }
  for (const node of trace.unknown) {
    const weighted = node.input.some((name) => dimsOf(stored.get(name) ?? empty).length > 1);
    if (weighted) frozen.push({ layer: layerName(node), text: `cannot be cut: ${node.op_type} is not followed` });
  }
  return frozen;
}

const empty = { dims: [] } as unknown as TensorProto;
