import * as z from 'zod';
import {
  channelGroups,
  leaveOne,
  removableChannels,
  removeChannels,
  storedTensors,
  type Channels,
  type Member,
} from '../../../graph/channels.ts';
import type { Model } from '../../../graph/model.ts';
import type { Note, Pass, PassContext, PassResult } from '../../pass.ts';
import { cutText } from './cost.ts';
import { normsAlong } from './scores.ts';

/** Distiller needs these to rebuild its network; qtool reads the graph, so they may stand there and say nothing. */
const options = z.strictObject({
  thinning_func_str: z.string().nullish(),
  arch: z.string().nullish(),
  dataset: z.string().nullish(),
});

/**
 * Cuts for real what pruners zeroed in weights of some roles, as far as the model's function provably stays the same: a channel
 * goes where, wherever it is summed over, it is zero or the weights that read it are.
 */
export function remover(
  { name, distiller, summary }: { readonly name: string; readonly distiller: string; readonly summary: string },
  roles: readonly Member['role'][],
): Pass {
  return {
    name,
    section: 'extensions',
    classes: [distiller],
    summary,
    source: `Distiller ${distiller} (thinning)`,
    options,
    apply: (model, _options, ctx) => remove(model, roles, ctx),
  };
}

async function remove(model: Model, roles: readonly Member['role'][], ctx: PassContext): Promise<PassResult> {
  const channels = channelGroups(model, await ctx.shapes(model));
  const provable = removableChannels(model, channels);
  const zero = zeroAtoms(model, channels, roles);
  const wanted = [...zero].filter((atom) => provable.has(atom));
  const removed = leaveOne(channels, wanted);
  const skipped: Note[] = channels.frozen.map(({ layer, text }) => ({ layer, text }));
  const changed: Note[] = [];
  for (const { layers, atoms } of channels.groups) {
    const gone = atoms.filter((atom) => removed.has(atom)).length;
    const [first = '', ...others] = layers;
    const together = others.length > 0 ? ` (with ${others.length} layers that share its channels)` : '';
    if (gone > 0) changed.push({ layer: first, text: `${atoms.length} → ${atoms.length - gone} channels${together}` });
    const left = atoms.filter((atom) => zero.has(atom) && !removed.has(atom));
    const spared = left.filter((atom) => provable.has(atom)).length;
    if (spared > 0) skipped.push({ layer: first, text: `${spared} zero channel stays: a layer needs one` });
    const bound = left.length - spared;
    if (bound > 0)
      skipped.push({
        layer: first,
        text: `${bound} channels with zero weights stay: a bias, a norm or another layer${others.length > 0 ? ` (one of ${others.join(', ')})` : ''} makes them something else than zero`,
      });
  }
  const notes = (['macs', 'parameters', 'energy'] as const).map((unit) => cutText(model, channels, removed, unit));
  return { model: removeChannels(model, channels, removed), changed, skipped, notes };
}

/** Atoms with a slice of zeros in some weight of one of these roles. */
function zeroAtoms(model: Model, channels: Channels, roles: readonly Member['role'][]): Set<number> {
  const stored = storedTensors(model);
  const zero = new Set<number>();
  for (const member of channels.members) {
    const tensor = stored.get(member.tensor);
    if (!tensor || !roles.includes(member.role)) continue;
    const norms = normsAlong(tensor, member.axis, 'l1');
    // Of an axis that repeats an atom (Flatten) all its slices must be zero.
    const alive = new Set([...member.atoms].filter((_, i) => norms[i] !== 0));
    for (const atom of member.atoms) if (atom >= 0 && !alive.has(atom)) zero.add(atom);
  }
  return zero;
}
