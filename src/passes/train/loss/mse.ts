import type { Loss } from '../../../autodiff/training_graph.ts';
import { add, mul, scaled, sub, sum } from '../../../autodiff/writer.ts';
import { elementCount } from '../../../graph/tensor.ts';

/** Name of the graph input that holds the wanted values of an output. */
export const wantedInput = (output: string): string => `target_${output}`;

/** Mean over all elements of an output of (y − t)², summed over the outputs; its gradient is 2 (y − t) / n. */
export function meanSquaredError(): Loss {
  return {
    write(w, outputs, input) {
      const terms = [...outputs].map(([name, y]) => {
        const apart = sub(w, y, input(wantedInput(name), 'float32', y.dims));
        const count = elementCount(y.dims);
        const loss = scaled(w, sum(w, mul(w, apart, apart), [...y.dims.keys()]), 1 / count);
        return { name, loss, seed: scaled(w, apart, 2 / count) };
      });
      const loss = terms.map((term) => term.loss).reduce((a, b) => add(w, a, b));
      return { loss, seeds: new Map(terms.map(({ name, seed }) => [name, seed])) };
    },
  };
}
