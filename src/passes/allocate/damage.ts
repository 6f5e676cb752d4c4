import type { Model } from '../../graph/model.ts';
import { harmOf, type MetricResult } from '../../metrics/metric.ts';
import { QtoolError } from '../../util/error.ts';
import type { Judge, PassContext, SensitivityMap } from '../pass.ts';
import { widthText, type PlannedLayer } from './layers.ts';
import { dB, type Ground } from './plan.ts';
import { openProbe, type Probe } from './probe.ts';
import { remembered } from './remembered.ts';
import { withRounded } from './rounded.ts';
import type { Rounder } from './rounder.ts';

/** Damage of each layer at each of its widths, everything else in float. */
export interface DamageTable extends Words {
  /** One row a layer, in the order of its widths; of integers never rising with the width. */
  readonly damage: readonly (readonly number[])[];
  /** Of formats under `output`: the part of the error that lies along the outputs, which adds up as amplitudes do. */
  readonly along: readonly (readonly number[])[];
}

/** One damage, and the sum of those chosen, in words. */
interface Words {
  readonly text: (damage: number) => string;
  readonly sum: (damage: number) => string;
  /** What the damage is a drop of. */
  readonly metric: Pick<SensitivityMap, 'unit'> & { readonly name: string };
}

/** The table as a report shows it. */
export function mapOf({ damage, metric }: DamageTable, { layers }: Ground): SensitivityMap {
  const label = (layer: PlannedLayer, bits: number): string => layer.formats?.get(bits)?.label ?? `${bits} bits`;
  const widths = new Map(layers.flatMap((layer) => layer.widths.map((bits) => [label(layer, bits), bits] as const)));
  const columns = [...widths].sort(([, a], [, b]) => b - a).map(([name]) => name);
  const rows = layers.map((layer, i) => ({
    layer: layer.name,
    values: columns.map((name) => damage[i]?.[layer.widths.findIndex((bits) => label(layer, bits) === name)]),
  }));
  return { metric: metric.name, unit: metric.unit, columns, rows };
}

interface TableOptions {
  readonly damage: string;
  readonly samples: number;
  readonly rounding: string;
  readonly scales: string;
}

/**
 * Measures layers × widths candidates: each one session and one run over the samples. A damage that rises with the width is
 * noise of the measurement, and becomes that of the next lower width.
 */
export function damageTable(
  model: Model,
  ground: Ground,
  o: TableOptions,
  round: Rounder,
  ctx: PassContext,
): Promise<DamageTable> {
  return remembered(ctx, 'damages', model, [o.damage, o.samples, o.rounding, o.scales], ground.layers, () =>
    measuredTable(ground, o, round, ctx),
  );
}

async function measuredTable(
  { float, layers }: Ground,
  o: TableOptions,
  round: Rounder,
  ctx: PassContext,
): Promise<DamageTable> {
  const measure = await damageMeasure(ctx, float, o.damage, o.samples);
  const count = layers.reduce((sum, layer) => sum + measuredWidths(layer).length, 0);
  const error = measure.error ?? (async (candidate: Model) => ({ noise: await measure.of(candidate), along: 0 }));
  const damage: number[][] = [];
  const along: number[][] = [];
  let done = 0;
  for (const layer of layers) {
    const [widths, row, parts]: [readonly number[], number[], number[]] = [measuredWidths(layer), [], []];
    for (const bits of widths) {
      ctx.progress(done++ / count, `${layer.name} at ${widthText(layer, bits)}`);
      const rounded = await round(layer, bits);
      const alone = withRounded(float, new Map([[layer, rounded]]));
      const own = rounded.noise === 0 ? { noise: 0, along: 0 } : await error(alone);
      // Formats are unlike: one of more bits may well do more harm.
      row.push(layer.formats ? own.noise : Math.min(own.noise, row.at(-1) ?? Infinity));
      parts.push(own.along);
    }
    damage.push(layer.widths.map((bits) => between(widths, row, bits)));
    along.push(parts);
  }
  return { damage, along, text: measure.text, sum: measure.sum, metric: measure.metric };
}

/** Fractions of a bit are not measured but the whole numbers around them, and the ends. */
function measuredWidths({ widths, formats }: PlannedLayer): readonly number[] {
  if (formats) return widths;
  return widths.filter((w, k) => Number.isInteger(w) || k === 0 || k === widths.length - 1);
}

/** A damage between two measured ones: dB are nearly a line in the bits, so its logarithm is; where one is not above 0, itself. */
function between(widths: readonly number[], damage: readonly number[], bits: number): number {
  const k = widths.findIndex((w) => w >= bits);
  const [to, low] = [widths[k], damage[k]] as [number, number];
  const [from, high] = [widths[k - 1] ?? to, damage[k - 1] ?? low];
  const part = from === to ? 1 : (bits - from) / (to - from);
  // A lesser format may happen to be exact: nothing is to be multiplied then.
  return low > 0 && high > 0 ? high * (low / high) ** part : high + (low - high) * part;
}

/** One measure of damage; all of them are less for a better model. */
export interface Measure extends Words {
  readonly of: (model: Model) => Promise<number>;
  /** That of the outputs, and the part of it that lies along them. */
  readonly error?: Probe['error'];
}

/** `output`: noise over signal at the outputs, on calibration samples; else the drop of a metric of the run against `float`. */
export async function damageMeasure(ctx: PassContext, float: Model, damage: string, samples: number): Promise<Measure> {
  if (damage !== 'output') return metricDamage(ctx, float, damage);
  const probe = await openProbe(ctx, float, samples);
  return {
    of: (model) => probe.noise(model),
    error: (model) => probe.error(model),
    text: dB,
    metric: { name: 'the outputs (noise to signal)', unit: '' },
    sum: (damage) => `expected at the output ${dB(damage)} from weights alone`,
  };
}

async function metricDamage(ctx: Judge, float: Model, name: string): Promise<Measure> {
  const read = async (model: Model): Promise<MetricResult> => {
    const { metrics } = await ctx.measure(model);
    const found = metrics.find((m) => m.name === name);
    if (found) return found;
    throw new QtoolError('schedule', `damage "${name}" is not measured on this data`, {
      hint: `measured are: ${['output', ...metrics.map((m) => m.name)].join(', ')}`,
    });
  };
  const whole = await read(float);
  const base = harmOf(whole);
  const noise = whole.reference === Infinity;
  const points = noise ? ' of the signal' : whole.unit === '%' ? ' points' : whole.unit && ` ${whole.unit}`;
  const text = (damage: number): string => `${noise ? damage.toExponential(1) : damage.toFixed(2)}${points}`;
  return {
    of: async (model) => harmOf(await read(model)) - base,
    text,
    metric: noise ? { name: `${name} (noise to signal)`, unit: '' } : { name, unit: whole.unit },
    sum: (damage) => `expected ${noise ? 'noise' : 'drop'} of ${name} ${text(damage)} from weights alone`,
  };
}
