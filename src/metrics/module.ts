import { existsSync } from 'node:fs';
import { basename, extname, resolve } from 'node:path';
import type { MetricConfig } from '../data/types.ts';
import { QtoolError } from '../util/error.ts';
import { checkNamed, importModule, type Modules } from '../util/module.ts';
import { compared, type Metric, type MetricInput, type MetricResult } from './metric.ts';

/**
 * A metric from a user's module, whose default export is a metric (start, add and finish; `finish` may return a number) or a
 * function of the config's options that returns one. `needs`, `unit` and `higherIsBetter` have defaults: outputs, none, true.
 * What it is compared with is its own value of the float model's outputs, folded beside: for a metric that measures the distance
 * from those that is the perfect value.
 * @throws QtoolError `data` where the module does not load or exports none.
 */
export async function moduleMetric(
  { name, options, at }: MetricConfig,
  folder: string,
  modules: Modules,
): Promise<Metric> {
  checkNamed(modules, name, 'data', at());
  const path = resolve(folder, name);
  if (!existsSync(path)) throw new QtoolError('data', `the metric module "${name}" does not exist`, { at: at(), hint: `It would be ${path}.` }); // prettier-ignore
  // A dry run only needs its name.
  if (modules === 'name') return userMetric(idle, basename(name, extname(name)), path);
  let { default: made } = await importModule(path, modules, 'data', at());
  if (typeof made === 'function') made = await (made as (options: unknown) => unknown)(options);
  const missing = parts.find((part) => typeof (made as Record<string, unknown> | undefined)?.[part] !== 'function');
  if (missing !== undefined)
    throw new QtoolError('data', `the metric module's default export has no function "${missing}"`, { at: path, hint: 'It must be a metric { start, add, finish }, or a function that returns one.' }); // prettier-ignore
  return userMetric(made as UserMetric, basename(name, extname(name)), path);
}

const idle: UserMetric = { start: () => undefined, add: () => undefined, finish: () => NaN };

const parts = ['start', 'add', 'finish'] as const;

/** A metric as users write it: a fold over batches that ends in a number, and what is not as usual about it. */
export interface UserMetric<S = unknown> extends Partial<
  Pick<Metric, 'name' | 'needs' | 'summary'> & Pick<MetricResult, 'unit' | 'higherIsBetter'>
> {
  start(): S;
  add(state: S, input: MetricInput): S;
  finish(state: S): number | Partial<MetricResult>;
}

/** Whether an object has the functions of a metric. */
export function isUserMetric(given: object): given is UserMetric {
  return parts.every((part) => typeof (given as Record<string, unknown>)[part] === 'function');
}

interface Counted {
  readonly samples: number;
  readonly own: unknown;
  /** The same fold over the float model's outputs. */
  readonly float: unknown;
  /** There is none. */
  readonly alone: boolean;
}

/** What there is of a batch where there is no float model: whoever asks for that model's outputs is told so. */
function withoutReference({ batch, outputs }: MetricInput, name: string, at: string): MetricInput {
  return {
    ...{ batch, outputs },
    get reference(): never {
      throw new QtoolError('data', `metric ${name} compares with a float model, and none is given`, { at, hint: "give the reference, or say needs: 'reference' in the metric to leave it out without one" }); // prettier-ignore
    },
  };
}

/** A user's metric with what it leaves out. @param path where it is from, for errors */
export function userMetric(metric: UserMetric, fallback: string, path: string): Metric<Counted> {
  const name = metric.name ?? fallback;
  const finished = (state: unknown): Partial<MetricResult> & Pick<MetricResult, 'value'> => {
    const result = metric.finish(state);
    const { value, ...fields } = typeof result === 'number' ? { value: result } : result;
    if (typeof value !== 'number')
      throw new QtoolError('data', `metric ${name} finished without a value`, { at: path });
    return { ...fields, value };
  };
  return {
    name,
    needs: metric.needs ?? 'outputs',
    summary: metric.summary ?? `${name}, of ${path}`,
    start: () => ({ samples: 0, own: metric.start(), float: metric.start(), alone: false }),
    add: ({ samples, own, float }, input) => ({
      samples: samples + input.batch.count,
      own: metric.add(own, input.alone === true ? withoutReference(input, name, path) : input),
      float: input.alone === true ? float : metric.add(float, { ...input, outputs: input.reference }),
      alone: input.alone === true,
    }),
    finish({ samples, own, float, alone }) {
      const { unit = '', higherIsBetter = true } = metric;
      const fields = finished(own);
      const result = { samples, unit, higherIsBetter, ...fields, name };
      const beside = compared(result, fields.reference ?? (alone ? fields.value : finished(float).value));
      return { ...beside, drop: fields.drop ?? beside.drop };
    },
  };
}
