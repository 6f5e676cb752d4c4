import type { Layer } from '../../graph/layer.ts';
import { macsOf } from '../../graph/macs.ts';
import type { Model } from '../../graph/model.ts';
import { assignNames, layerFacts, resolveNames } from '../../graph/names.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { layerName } from '../../graph/query.ts';
import type { Shapes } from '../../graph/shapes.ts';
import { elementCount, floatData } from '../../graph/tensor.ts';
import { rateCurve, stepForRate, type RateCurve } from '../../numerics/coded.ts';
import type { NumberFormat } from '../../numerics/format.ts';
import { QtoolError } from '../../util/error.ts';
import { must } from '../../util/must.ts';
import type { Note } from '../pass.ts';
import { weightFormat } from '../quantize/formats.ts';
import { kernelLayers, quantizedRegion } from '../quantize/region.ts';
import { weightLayers } from '../quantize/targets.ts';
import { formatChoices, type Choices, type FormatCosts } from './choices.ts';
import type { AllocatorOptions } from './options.ts';

/** Layers that get one width: a single one, or those that share a weight tensor or were asked to go together. */
export interface PlannedLayer {
  /** The name of its first node. */
  readonly name: string;
  /** Names of all its nodes: what the plan is written for. */
  readonly nodes: readonly string[];
  /** One for each distinct weight tensor. */
  readonly weights: readonly Layer[];
  readonly parameters: number;
  /** Multiply-accumulates of one sample. */
  readonly macs: number;
  /** The widths it may get, rising. */
  readonly widths: readonly number[];
  /** Its rate for every step, where it gets one step instead of scales a channel (`scales: coded`). */
  readonly curve?: RateCurve;
  /** What its widths stand for, where formats are chosen: a width is then the bits that a weight takes in one. */
  readonly formats?: Choices;
  /** Why it shares its width with others or may not have all widths; empty where it is free. */
  readonly rule: string;
}

/** The widths that are tried where the options name none: those integers have, and what a coded step can be set to. */
const wholes = [2, 3, 4, 5, 6, 7, 8];
const quarters = Array.from({ length: 31 }, (_, i) => 0.5 + i / 4);

/** How the weights of a layer are held at one of its widths. */
export function plannedFormat({ curve, formats }: PlannedLayer, bits: number): NumberFormat {
  if (formats) return { kind: 'format', format: must(formats, bits, 'the format of') };
  return curve ? { kind: 'coded', bits, step: stepForRate(curve, bits) } : (weightFormat(bits, true) as NumberFormat);
}

/** `4 bits`, `nf4 (4.25 bits)`. */
export function widthText({ formats }: PlannedLayer, bits: number): string {
  const format = formats?.get(bits);
  return format ? `${format.label} (${bits.toFixed(2)} bits)` : `${bits} bits`;
}

/** Weight-only files hold INT2, INT4 and INT8: a width between them takes as much as the next one. */
const weightOnlyWidths = [2, 4, 8];

/**
 * The layers of a prepared model that the quantizer named in the options will quantize, with the widths each may get.
 * @param held what the weights take in the formats asked for, and whether outputs will be measured in all of them.
 * @throws QtoolError `schedule` where a layer is left without any width.
 */
export function plannedLayers(
  model: Model,
  shapes: Shapes,
  o: Pick<AllocatorOptions, 'widths' | 'first' | 'last' | 'limits' | 'together' | 'quantizer' | 'scales'> &
    Partial<Pick<AllocatorOptions, 'most_bits'>>,
  held?: { readonly costs: FormatCosts; readonly all: boolean },
): { readonly layers: readonly PlannedLayer[]; readonly skipped: readonly Note[] } {
  const all = weightLayers(model);
  const region =
    o.quantizer !== 'PostTrainLinearQuantizer' ? undefined : quantizedRegion(model, shapes, () => undefined);
  const [sites, skipped] = region ? [kernelLayers(region, all.layers), region.skipped] : [all.layers, all.skipped];
  const nodes = [...new Set(sites.map((site) => site.node))];
  const facts = layerFacts(model);
  const asked = o.widths ?? (o.scales === 'coded' ? quarters : wholes);
  const limits = assignNames(Object.keys(o.limits), facts, 'layers').nodes;
  if (o.scales === 'coded' && o.quantizer === 'WeightOnlyQuantizer')
    throw new QtoolError('schedule', 'scales: coded needs the static quantizer', {
      hint: 'WeightOnlyQuantizer stores 2, 4 or 8 bits with a scale a block: take scales: mse',
    });
  const groups = grouped(nodes, sites, facts, o.together);
  const [first, last] = [nodes[0], nodes.at(-1)];
  // With one step a layer a width is what codes take on average; how many they may have bounds the step.
  const coded = o.scales === 'coded';
  const within = (bits: number): number => (coded ? bits : Math.min(bits, o.most_bits ?? bits));
  const layers = groups.map(({ members, rule }): PlannedLayer => {
    const rules = rule === '' ? [] : [rule];
    const weights = [
      ...new Map(sites.filter((s) => members.includes(s.node)).map((s) => [s.weight.tensor.name, s])).values(),
    ];
    const formats = held && formatChoices(weights, held.costs, held.all);
    let widths = formats ? [...formats.keys()] : [...new Set(asked)].sort((a, b) => a - b);
    const keep = (test: (w: number) => boolean, why: string): void => {
      const kept = widths.filter(test);
      if (kept.length < widths.length) rules.push(why);
      widths = kept;
    };
    if (o.quantizer === 'WeightOnlyQuantizer') {
      widths = widths.filter((w) => weightOnlyWidths.includes(w));
      if (widths.length < asked.length) rules.push('stored in 2, 4 or 8 bits');
    }
    if (!formats) keep((w) => w <= within(w), `at most ${o.most_bits} bits`);
    for (const node of members) {
      const limit = o.limits[limits.get(layerName(node)) ?? ''];
      if (limit) keep((w) => w >= limit.min && w <= limit.max, `limited to ${limit.min} … ${limit.max} bits`);
      // A rule about the first or last layer says the width itself; it need not be one of those free to others.
      if (node === first && o.first !== null) [widths] = [[within(o.first)], rules.push('first layer')];
      if (node === last && o.last !== null) [widths] = [[within(o.last)], rules.push('last layer')];
    }
    if (widths.length === 0)
      throw new QtoolError('schedule', 'no width is left for this layer', {
        at: layerName(members[0] as NodeProto),
        hint: `widths ${asked.join(', ')}; ${rules.join('; ')}`,
      });
    const odd = widths.find((w) => !Number.isInteger(w) || w < 2);
    if (odd !== undefined && !formats && o.scales !== 'coded')
      throw new QtoolError('schedule', `a width of ${odd} bits is none that integers have`, {
        at: layerName(members[0] as NodeProto),
        hint: 'take whole numbers from 2 to 8, or scales: coded',
      });
    return {
      name: layerName(members[0] as NodeProto),
      nodes: members.map(layerName),
      weights,
      parameters: weights.reduce((sum, { weight }) => sum + elementCount(weight.dims), 0),
      macs: members.reduce((sum, node) => sum + known(macsOf(node, shapes)), 0),
      widths,
      ...(formats ? { formats } : {}),
      ...(coded ? { curve: rateCurve(weights.map(dataOf), o.most_bits) } : {}),
      rule: rules.join('; '),
    };
  });
  return { layers, skipped };
}

/** Nodes that share a weight tensor or a `together` pattern, joined; in graph order. */
function grouped(
  nodes: readonly NodeProto[],
  sites: readonly Layer[],
  facts: ReturnType<typeof layerFacts>,
  together: readonly string[],
): { members: NodeProto[]; rule: string }[] {
  const owner = new Map(nodes.map((node) => [node, { members: [node], rule: '' }]));
  const join = (list: readonly NodeProto[], rule: string): void => {
    const parts = [...new Set(list.map((node) => must(owner, node, 'the group of')))];
    if (parts.length < 2) return;
    const members = nodes.filter((node) => parts.some((part) => part.members.includes(node)));
    const whole = {
      members,
      rule: [...new Set([...parts.map((p) => p.rule), rule])].filter((r) => r !== '').join('; '),
    };
    for (const node of members) owner.set(node, whole);
  };
  const readers = new Map<string, NodeProto[]>();
  for (const { node, weight } of sites)
    readers.set(weight.tensor.name, [...(readers.get(weight.tensor.name) ?? []), node]);
  for (const [name, list] of readers) join(list, `shares ${name}`);
  const { matches } = resolveNames(together, facts, 'layers');
  for (const [pattern, found] of matches) {
    const names = new Set(found.map(({ layer }) => layer.node));
    join(
      nodes.filter((node) => names.has(layerName(node))),
      `together: ${pattern}`,
    );
  }
  return [...new Set(nodes.map((node) => must(owner, node, 'the group of')))];
}

const dataOf = ({ weight }: Layer): Float32Array => floatData(weight.tensor);

const known = (macs: number | string): number => (typeof macs === 'number' ? macs : 0);
