import { storedTensors, type Channels } from '../../../graph/channels.ts';
import { dtypes } from '../../../graph/dtype.ts';
import { factorAxes, factorValue } from '../../../graph/macs.ts';
import type { Model } from '../../../graph/model.ts';
import { productOf } from '../../../graph/ops.ts';
import { isOp } from '../../../graph/query.ts';
import { dimsOf, typeOf } from '../../../graph/tensor.ts';
import { floatPicojoules } from '../../../numerics/energy.ts';

/** What a budget may be counted in: multiply-accumulates of one sample, stored weights, their bytes, or estimated picojoules of one sample. */
export type Unit = 'macs' | 'parameters' | 'bytes' | 'energy';

export const unitName = (unit: Unit): string => (unit === 'macs' ? 'MACs' : unit);

/** `MACs: 200 → 100 (50.0 %)`. */
export const costText = (unit: Unit, before: number, now: number): string =>
  `${unitName(unit)}: ${amount(unit, before)} → ${amount(unit, now)} (${((100 * now) / before).toFixed(1)} %)`;

const amount = (unit: Unit, cost: number): string => (unit === 'energy' ? `${(cost / 1e6).toPrecision(4)} µJ` : String(cost)); // prettier-ignore

/** The same of a model from which channels are removed. */
export function cutText(model: Model, channels: Channels, removed: ReadonlySet<number>, unit: Unit): string {
  const cost = costOf(model, channels, unit);
  const before = cost.total();
  cost.remove(removed);
  return costText(unit, before, cost.total());
}

/** Layers whose work is counted. */
const multiplying = ['Conv', 'ConvTranspose', 'Gemm', 'MatMul'] as const;

/** factor × the number of indices that stay along each axis. */
interface Term {
  readonly factor: number;
  readonly axes: readonly (Int32Array | undefined)[];
}

/** What the model takes of a unit while channels are taken away, without cutting it. */
export interface Cost {
  total(): number;
  /** By how much the total would fall. */
  saving(atoms: readonly number[]): number;
  remove(atoms: Iterable<number>): void;
  /** Puts removed atoms back. */
  restore(atoms: Iterable<number>): void;
}

/** The cost of a model with nothing cut yet. */
export function costOf(model: Model, channels: Channels, unit: Unit): Cost {
  const terms = termsOf(model, channels, unit);
  const left = terms.map(({ axes }) => axes.map((axis) => axis?.length ?? 1));
  // Atom → the axes it stands in, and how often.
  const places = new Map<number, { term: number; axis: number; times: number }[]>();
  terms.forEach(({ axes }, term) =>
    axes.forEach((labels, axis) => {
      const times = new Map<number, number>();
      labels?.forEach((atom) => times.set(atom, (times.get(atom) ?? 0) + 1));
      times.forEach((n, atom) => {
        const list = places.get(atom) ?? [];
        list.push({ term, axis, times: n });
        places.set(atom, list);
      });
    }),
  );
  const product = (term: number, counts: readonly number[]): number =>
    counts.reduce((p, n) => p * n, (terms[term] as Term).factor);
  /** Counts of the terms that atoms stand in, once these are gone (sign −1: back). */
  const without = (atoms: Iterable<number>, sign = 1): Map<number, number[]> => {
    const changed = new Map<number, number[]>();
    for (const atom of atoms)
      for (const { term, axis, times } of places.get(atom) ?? []) {
        const counts = changed.get(term) ?? [...(left[term] as number[])];
        counts[axis] = counts[axis]! - sign * times;
        changed.set(term, counts);
      }
    return changed;
  };
  return {
    total: () => left.reduce((sum, counts, term) => sum + product(term, counts), 0),
    saving: (atoms) =>
      [...without(atoms)].reduce(
        (sum, [term, counts]) => sum + product(term, left[term] as number[]) - product(term, counts),
        0,
      ),
    remove: (atoms) => without(atoms).forEach((counts, term) => (left[term] = counts)),
    restore: (atoms) => without(atoms, -1).forEach((counts, term) => (left[term] = counts)),
  };
}

function termsOf(model: Model, channels: Channels, unit: Unit): Term[] {
  if (unit === 'macs') return multiplications(model, channels);
  if (unit !== 'energy') return storage(model, channels, unit);
  const { mac, weightByte, activationByte } = floatPicojoules;
  return [
    ...times(mac, multiplications(model, channels)),
    ...times(weightByte, storage(model, channels, 'bytes')),
    ...times(4 * activationByte, traffic(model, channels)),
  ];
}

const times = (by: number, terms: readonly Term[]): Term[] => terms.map((term) => ({ ...term, factor: by * term.factor })); // prettier-ignore

/** Numbers that layers read and write beside their weights, once each: one term a value of one layer. */
function traffic(model: Model, channels: Channels): Term[] {
  const stored = storedTensors(model);
  return model.graph.node.flatMap((node): Term[] => {
    if (!isOp(node, ...multiplying)) return [];
    const values = [...node.input.filter((name) => name !== '' && !stored.has(name)), node.output[0] ?? ''];
    // Axis 0 is the batch.
    return values.map((value) => termOf((channels.dims.get(value) ?? []).slice(1), (channels.axes.get(value) ?? []).slice(1))); // prettier-ignore
  });
}

function storage(model: Model, channels: Channels, unit: Unit): Term[] {
  return [...storedTensors(model)].flatMap(([name, tensor]): Term[] => {
    const type = typeOf(tensor);
    // Shapes and indices are no parameters.
    if (type === 'string' || type === 'int64') return [];
    const { factor, axes } = termOf(dimsOf(tensor), channels.axes.get(name) ?? []);
    return [{ factor: unit === 'bytes' ? (factor * dtypes[type].bits) / 8 : factor, axes }];
  });
}

/** Sizes of axes that stay as they are go into the factor. */
function termOf(dims: readonly number[], labels: readonly (Int32Array | undefined)[]): Term {
  const open = dims.map((_, d) => labels[d]);
  return { factor: dims.reduce((p, size, d) => (open[d] ? p : p * size), 1), axes: open.filter((axis) => axis) };
}

function join(...terms: readonly Term[]): Term {
  return { factor: terms.reduce((p, t) => p * t.factor, 1), axes: terms.flatMap((t) => t.axes) };
}

/** One term a product of axis lengths; axis 0 of an activation is the batch and counts once. */
function multiplications(model: Model, channels: Channels): Term[] {
  const stored = storedTensors(model);
  const rankOf = (value: string): number => channels.dims.get(value)?.length ?? 0;
  return model.graph.node.flatMap((node): Term[] => {
    const sums = isOp(node, ...multiplying) ? productOf(node)?.macs(node) : undefined;
    if (sums === undefined || typeof sums === 'string') return [];
    // Where a stored matrix stands left, the rows of the result are its own; axes before them are the batch.
    const data = factorValue(node, 'data');
    const own = stored.has(data) && rankOf(data) >= rankOf(factorValue(node, 'out'));
    return sums.map((factors) =>
      join(
        ...factors.map((factor) => {
          const value = factorValue(node, factor.of);
          const [dims, labels] = [channels.dims.get(value) ?? [], channels.axes.get(value) ?? []];
          const batch = factor.at === undefined && factor.of !== 'weight' && !own;
          const picked = factorAxes(factor, dims.length).filter((d) => d > 0 || !batch);
          return termOf(
            picked.map((d) => dims[d]!),
            picked.map((d) => labels[d]),
          );
        }),
      ),
    );
  });
}
