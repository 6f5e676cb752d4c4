import * as z from 'zod';
import type { Loss } from '../../../autodiff/training_graph.ts';
import { add, div, mul, scaled, sub, sum, type GraphWriter, type Value } from '../../../autodiff/writer.ts';
import { elementCount } from '../../../graph/tensor.ts';
import type { LossKind } from '../kinds.ts';
import { classAxis, outputOf, positionsOf, scoreOptions, settledScores, wantedOf, type ScoreOptions } from './targets.ts'; // prettier-ignore

/** Name of the graph input that holds the wanted values of an output. */
export const wantedInput = (output: string): string => `target_${output}`;
/** Name of the graph input that says which positions of an output count. */
const countedInput = (output: string): string => `counted_${output}`;

/** Mean of (y − t)² over what counts, and its gradient 2 (y − t) / n. @param counted 1 or 0, broadcast to y; all counts without it. */
export function squaredError(w: GraphWriter, y: Value, t: Value, counted?: Value): { loss: Value; seed: Value } {
  const apart = sub(w, y, t);
  const all = [...y.dims.keys()];
  if (!counted) {
    const count = elementCount(y.dims);
    return { loss: scaled(w, sum(w, mul(w, apart, apart), all), 1 / count), seed: scaled(w, apart, 2 / count) };
  }
  const each = elementCount(y.dims) / elementCount(counted.dims);
  const count = scaled(w, w.op('Max', [sum(w, counted, all), w.scalar(1)], []), each);
  const held = mul(w, apart, counted);
  return { loss: div(w, sum(w, mul(w, held, apart), all), count), seed: scaled(w, div(w, held, count), 2) };
}

/**
 * Mean over the elements of an output of (y − t)², summed over the outputs; its gradient is 2 (y − t) / n.
 * @param output only this one; all where none is named.
 * @param counted whether it is fed which positions count.
 */
export function meanSquaredError({ output, axis, counted = false }: ScoreOptions & { counted?: boolean } = {}): Loss {
  return {
    write(w, outputs, input) {
      const chosen = output === undefined ? [...outputs] : [outputOf(outputs, output)];
      const terms = chosen.map(([name, y]) => {
        const t = input(wantedInput(name), 'float32', y.dims);
        const rows = counted ? input(countedInput(name), 'float32', positionsOf(y.dims, classAxis(y.dims, axis))) : undefined; // prettier-ignore
        return { name, ...squaredError(w, y, t, rows) };
      });
      const loss = terms.map((term) => term.loss).reduce((a, b) => add(w, a, b));
      return { loss, seeds: new Map(terms.map(({ name, seed }) => [name, seed])) };
    },
  };
}

const options = z.strictObject({
  output: z.string().min(1).optional().meta({ description: "one of the model's outputs; by default all" }),
  axis: scoreOptions.axis,
});

export const mseKind: LossKind<z.infer<typeof options>> = {
  name: 'mse',
  summary: 'mean squared error: of expected outputs, or of labels as 0 and 1',
  source: 'Goodfellow, Bengio and Courville 2016, Deep Learning, 5.1.4',
  options,
  make: (o) => meanSquaredError({ ...o, counted: true }),
  feeds(o, batch, outputs) {
    const chosen = o.output === undefined ? [...outputs] : [outputOf(outputs, o.output)];
    return Object.fromEntries(
      chosen.flatMap(([name, dims]) => {
        const { target, counted } = wantedOf(batch, name, dims, o);
        return [[wantedInput(name), target], [countedInput(name), counted]] as const;
      }),
    );
  },
  settled: (o, model, batch, outputs) => (batch.targets[0]?.expected ? o : settledScores(o, model, batch, outputs, [])),
}; // prettier-ignore
