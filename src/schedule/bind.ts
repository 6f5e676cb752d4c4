import { mapByOrder } from '../graph/name_order.ts';
import { resolveNames, suggestSelector, type LayerFact } from '../graph/names.ts';
import { parsePattern } from '../util/pattern.ts';
import type { EpochPlan } from '../passes/train/plan.ts';
import { yamlError, type Problem } from '../util/yaml.ts';
import { isRecord } from './instances.ts';
import { forFolded, impliedNote } from './training.ts';
import type { ParsedSchedule, Schedule, Selector, SelectorGroup } from './types.ts';

/** What a schedule is checked against: the nodes of a model, as `layerFacts` lists them. */
export interface ModelFacts {
  readonly layers: readonly LayerFact[];
}

/**
 * Checks a schedule against a model: every selector must match something. Names that only the file's `names:` table or the
 * order of the layers explains are replaced in the stages' options by the model's own; the notes print that mapping.
 *
 * @throws QtoolError('schedule') with the place of each selector that matches nothing
 */
export function bindSchedule(parsed: ParsedSchedule, { layers }: ModelFacts): Schedule {
  const problems: Problem[] = [];
  const notes: string[] = [];
  const table = namesTable(parsed, layers, problems);
  const lost: Selector[] = [];
  for (const { selectors } of parsed.groups)
    for (const over of ['weights', 'layers'] as const) {
      const mine = selectors.filter((selector) => selector.over === over);
      const open = mine.filter(({ pattern }) => !table.has(bareName(pattern)));
      const resolution = resolveNames(new Set(open.map((selector) => selector.pattern)), layers, over);
      notes.push(...resolution.notes);
      lost.push(...open.filter(({ pattern }) => resolution.matches.get(pattern)!.length === 0));
    }
  const ordered = byOrder(parsed.groups, lost, layers, table);
  for (const { pattern, over, path } of lost) {
    const message = `"${pattern}" matches no ${over === 'weights' ? 'weights' : 'layer'} of the model`;
    if (ordered.mapping.has(bareName(pattern))) continue;
    const how =
      ordered.refused === undefined || parsePattern(pattern).kind !== 'name'
        ? suggestSelector(pattern, layers, over)
        : `: ${ordered.refused}; say which is which with a table "names:"`;
    problems.push({ path, message: message + how });
  }
  if (problems.length > 0) throw yamlError(parsed.doc, problems);

  const known = new Map([...table, ...ordered.mapping]);
  const renamed = new Map<unknown, unknown>();
  for (const { options, selectors } of parsed.groups) {
    const mine = selectors.filter(({ pattern }) => known.has(bareName(pattern)));
    if (mine.length > 0)
      renamed.set(
        options,
        mine.reduce((o, s) => rename(o, s.below, s.pattern, known.get(bareName(s.pattern))!), options),
      );
    notes.push(...mine.map(({ pattern }) => `${pattern} is ${known.get(bareName(pattern))}`));
  }
  const inModel = <T extends { readonly options: unknown }>(one: T): T =>
    renamed.has(one.options) ? { ...one, options: renamed.get(one.options) } : one;
  const has = (op: string): boolean => layers.some(({ opType }) => opType === op);
  const folded = parsed.implied && has('Conv') && !has('BatchNormalization');
  const told = [...parsed.notes];
  const stages = parsed.stages.map((stage) => {
    if (!stage.epoch) return inModel(stage);
    const own = stage.options as EpochPlan;
    const { plan, note } = folded ? forFolded(own) : { plan: own, note: undefined };
    const place = told.indexOf(impliedNote(own.epochs, own.training));
    if (note !== undefined && place >= 0) told[place] = note;
    return { ...stage, options: { ...plan, policies: plan.policies.map(inModel), regularizers: plan.regularizers.map(inModel) } }; // prettier-ignore
  });
  const { file, waiting, warnings } = parsed;
  return { file, stages, waiting, notes: [...new Set([...told, ...notes])], ...(warnings && { warnings }) };
}

const bareName = (name: string): string => name.replace(/(^|\.)module\./g, '$1').replace(/\.weight$/, '');

/** PyTorch name → node name, from the file's `names:`. */
function namesTable({ names }: ParsedSchedule, layers: readonly LayerFact[], problems: Problem[]): Map<string, string> {
  const weighted = layers.filter((layer) => layer.weights.length > 0);
  if (Array.isArray(names)) {
    const list = names as readonly string[];
    if (list.length !== weighted.length)
      problems.push({
        path: ['names'],
        message: `lists ${list.length} layers, but the model has ${weighted.length} with weights`,
        on: 'key',
      });
    return new Map(list.map((name, i) => [bareName(name), weighted[i]?.node ?? '']));
  }
  const table = new Map<string, string>();
  for (const [name, target] of Object.entries(names as Readonly<Record<string, string>>)) {
    const layer = layers.find(({ node, weights }) => node === target || weights.includes(target));
    if (layer === undefined)
      problems.push({
        path: ['names', name],
        message: `the model has no "${target}"${suggestSelector(target, layers, 'layers')}`,
      });
    table.set(bareName(name), target);
  }
  return table;
}

/** Matches the names that nothing else explains with the layers that nothing else names, by order. */
function byOrder(
  groups: readonly SelectorGroup[],
  lost: readonly Selector[],
  layers: readonly LayerFact[],
  table: ReadonlyMap<string, string>,
): { readonly mapping: ReadonlyMap<string, string>; readonly refused: string | undefined } {
  const exact = (selectors: readonly Selector[]): Set<string> =>
    new Set(selectors.map((s) => s.pattern).filter((pattern) => parsePattern(pattern).kind === 'name'));
  const unknown = [...exact(lost)];
  const names = [...new Set(unknown.map(bareName))];
  // A layer that still has its PyTorch name would have been found by it.
  const taken = new Set(table.values());
  const anonymous = layers.filter(
    ({ module, node, weights }) =>
      weights.length > 0 && module === undefined && ![node, ...weights].some((name) => taken.has(name)),
  );
  const named = resolveNames(exact(groups.flatMap((group) => group.selectors)), anonymous).matches;
  const found = new Set([...named.values()].flatMap((list) => list.map((match) => match.layer)));
  const free = anonymous.filter((layer) => !found.has(layer));
  // Other names than PyTorch's parameters are slips of the keyboard, not renamed layers.
  if (names.length === 0 || free.length === 0 || !unknown.every((name) => /\.weight$|^module\.|\.\d+\./.test(name)))
    return { mapping: new Map(), refused: undefined };
  const result = mapByOrder(names, free);
  if ('refused' in result) return { mapping: new Map(), refused: result.refused };
  return { mapping: new Map([...result.mapping].map(([name, layer]) => [name, layer.node])), refused: undefined };
}

/** The options with the selector at `path` replaced: a text in a list, or the key of a mapping, in its place. */
function rename(options: unknown, path: readonly (string | number)[], from: string, to: string): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return options === from ? to : options;
  if (Array.isArray(options))
    return options.map((item, i) => (i === Number(key) ? rename(item, rest, from, to) : (item as unknown)));
  if (!isRecord(options)) return options;
  return Object.fromEntries(
    Object.entries(options).map(([name, value]) => {
      if (name !== String(key)) return [name, value];
      if (rest.length === 0 && name === from && value !== from) return [to, value];
      return [name, rename(value, rest, from, to)];
    }),
  );
}
