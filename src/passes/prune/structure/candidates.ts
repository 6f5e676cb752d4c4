import type { ChannelGroup, Channels } from '../../../graph/channels.ts';
import type { Model } from '../../../graph/model.ts';
import type { NodeProto } from '../../../graph/proto.ts';
import { layerName } from '../../../graph/query.ts';
import { momentBytes, tooWide } from '../../moments.ts';
import type { Note, PassContext } from '../../pass.ts';
import type { Candidate } from './allocate.ts';
import { eliminate, readerOf, type Elimination } from './order.ts';
import { outputError, withReaders } from './probe.ts';
import { siteProblems } from './problems.ts';
import { refitSites, type Site } from './sites.ts';
import { must } from '../../../util/must.ts';
import { breathing } from '../../../util/steps.ts';

/** Bytes of second moments held at once; more layers than that take further passes over the data. */
const heldBytes = 512 * 2 ** 20;
/** Damage (share of the readers' output power) at which a group's effect on the model's outputs is measured. */
const probeDamage = 0.1;
const probeSamples = 256;

export interface CandidateOptions {
  readonly samples: number;
  readonly ridge: number;
  /** Orders by given scores, weakest first, instead of by what the readers lose. */
  readonly scores?: ReadonlyMap<number, number> | undefined;
  /** Measures on the model's outputs how much a group's damage matters. */
  readonly probe: boolean;
}

interface Entry {
  readonly group: ChannelGroup;
  readonly atoms: ReadonlySet<number>;
  readonly readers: readonly Site[];
}

/** What may be cut at which price, and what may not. */
export interface Priced {
  readonly candidates: readonly Candidate[];
  readonly skipped: readonly Note[];
}

/** Groups with the order and the price of cutting their channels, by least squares on what their readers give. */
export async function candidatesOf(
  ctx: PassContext,
  model: Model,
  channels: Channels,
  groups: readonly ChannelGroup[],
  options: CandidateOptions,
): Promise<Priced> {
  const { entries, skipped: unfit } = readersOf(model, channels, groups);
  const skipped: Note[] = [...unfit];
  const candidates: Candidate[] = [];
  for (let from = 0; from < entries.length;) {
    const to = fitting(entries, from);
    const now = entries.slice(from, to);
    ctx.progress((0.5 * from) / entries.length, `looking at ${now[0]?.group.layers[0]}`);
    const problems = await siteProblems(ctx, model, [...new Set(now.flatMap((e) => e.readers))], options);
    for (const { group, atoms, readers: sites } of now) {
      const own = sites.map((site) => must(problems, site, 'the problem of'));
      const bad = own.findIndex((problem) => typeof problem === 'string');
      if (bad >= 0) {
        const text = `left alone: its reader ${sites[bad]?.layer} cannot be refitted: ${own[bad] as string}`;
        skipped.push(...group.layers.map((layer) => ({ layer, text })));
        continue;
      }
      const readers = own.flatMap((problem) => (typeof problem === 'string' ? [] : readerOf(problem, atoms)));
      const { scores } = options;
      const given = scores && [...group.atoms].sort((a, b) => (scores.get(a) ?? 0) - (scores.get(b) ?? 0));
      let probe: { readonly model: Model; readonly damage: number } | undefined;
      const steps = eliminate(group.atoms, readers, given, (count, damage) => {
        const due = damage >= probeDamage || count * 2 >= group.atoms.length;
        if (options.probe && !probe && due) probe = { model: withReaders(model, readers), damage };
      });
      const elimination = await breathing(steps, { signal: ctx.signal });
      const measured = probe && (await outputError(ctx, probe.model, model, Math.min(probeSamples, options.samples)));
      const weight = probe && measured !== undefined && probe.damage > 0 ? measured / probe.damage : 1;
      candidates.push(...cohorts(channels, elimination, weight));
    }
    from = to;
  }
  return { candidates, skipped };
}

/** The groups all of whose readers can be refitted; the others with the reason. */
function readersOf(
  model: Model,
  channels: Channels,
  groups: readonly ChannelGroup[],
): { readonly entries: readonly Entry[]; readonly skipped: readonly Note[] } {
  const sites = refitSites(model, channels);
  const skipped: Note[] = [];
  const entries = groups.flatMap((group): Entry[] => {
    const atoms = new Set(group.atoms);
    const readers = sites.filter((site) => site.columns.some((atom) => atoms.has(atom)));
    const known = new Set(readers.map((site) => site.node));
    const other = channels.sites.find(
      ({ node, operands }) =>
        !known.has(node) &&
        operands.some(({ value, axis }) => channels.axes.get(value)?.[axis]?.some((atom) => atoms.has(atom))),
    );
    const wide = readers.map((site) => ({ site, why: tooWide(site) })).find(({ why }) => why !== undefined);
    if (!other && !wide && readers.length > 0) return [{ group, atoms, readers }];
    const unfit = (node: NodeProto): string => `left alone: its reader ${layerName(node)} cannot be refitted`;
    const text = other
      ? unfit(other.node)
      : wide
        ? `${unfit(wide.site.node)}: ${wide.why}`
        : 'left alone: no layer reads it';
    skipped.push(...group.layers.map((layer) => ({ layer, text })));
    return [];
  });
  return { entries, skipped };
}

/** How many groups from here on fit into memory together; at least one. */
function fitting(entries: readonly Entry[], from: number): number {
  const held = new Set<Site>();
  let bytes = 0;
  for (let i = from; i < entries.length; i++) {
    for (const site of entries[i]?.readers ?? []) {
      if (!held.has(site)) bytes += momentBytes(site);
      held.add(site);
    }
    if (bytes > heldBytes && i > from) return i;
  }
  return entries.length;
}

/**
 * The parts of a group that stand in the same layers: channels of the first stage of a residual network run through all its
 * stages, those that later stages add do not. Each part can then keep a multiple of its own, so that every layer does. Each atom
 * takes the damage it did in the order of the whole group.
 */
export function cohorts(channels: Channels, { order, damage }: Elimination, weight: number): Candidate[] {
  const parts = new Map<string, { order: number[]; damage: number[] }>();
  const places = new Map<number, number[]>(order.map((atom) => [atom, []]));
  channels.members.forEach(({ role, atoms }, i) => {
    if (role === 'out') new Set(atoms).forEach((atom) => places.get(atom)?.push(i));
  });
  order.forEach((atom, i) => {
    const key = places.get(atom)?.join() ?? '';
    const part = parts.get(key) ?? { order: [], damage: [0] };
    part.order.push(atom);
    part.damage.push((part.damage.at(-1) as number) + damage[i + 1]! - damage[i]!);
    parts.set(key, part);
  });
  const guards = guarded(channels, order);
  return [...parts.values()].map((part) => ({
    ...part,
    guarded: new Set(part.order.filter((atom) => guards.has(atom))),
    weight,
  }));
}

/** The strongest atom of every axis that has atoms of this group only: it stays, so that no axis is left empty. */
function guarded(channels: Channels, order: readonly number[]): Set<number> {
  const rank = new Map(order.map((atom, i) => [atom, i]));
  const guards = new Set<number>();
  for (const axes of channels.axes.values())
    for (const axis of axes) {
      if (!axis?.every((atom) => rank.has(atom))) continue;
      guards.add(
        axis.reduce((a, b) => (must(rank, b, 'the rank of channel') > must(rank, a, 'the rank of channel') ? b : a)),
      );
    }
  return guards;
}
