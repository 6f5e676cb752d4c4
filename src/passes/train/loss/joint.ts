import type { Loss } from '../../../autodiff/training_graph.ts';
import { add, scaled } from '../../../autodiff/writer.ts';
import type { Exit } from '../../../graph/exits.ts';
import { must } from '../../../util/must.ts';

/** The name of an exit's own copy of a graph input that its loss is fed by. */
export const exitInput = (output: string, name: string): string => `${output}_${name}`;

/**
 * Σ w_i · L_i + (1 − Σ w_i) · L over early exits i and the model's own outputs, as Distiller weighs them; BranchyNet's Σ w_n L_n is the same with
 * weights that do not add up to 1, and a learning rate as many times as large. What is counted is that of the model's own output.
 * Source: Teerapittayanon et al. 2016 (arXiv 1709.01686), section III.B; Distiller, algo_earlyexit.md.
 * @param last of the model's own outputs; `branches`: of the exits, each of which sees its own output alone.
 */
export function joint(last: Loss, branches: readonly { readonly exit: Exit; readonly loss: Loss }[]): Loss {
  const rest = 1 - branches.reduce((sum, { exit }) => sum + exit.weight, 0);
  return {
    write(w, outputs, input) {
      const inner = new Set(branches.map(({ exit }) => exit.output));
      const own = last.write(w, new Map([...outputs].filter(([name]) => !inner.has(name))), input);
      const terms = [{ ...own, weight: rest }];
      for (const { exit, loss } of branches) {
        const { output, weight } = exit;
        const scores = new Map([[output, must(outputs, output, 'the exit')]]);
        terms.push({ ...loss.write(w, scores, (name, type, dims) => input(exitInput(output, name), type, dims)), weight }); // prettier-ignore
      }
      return {
        loss: terms.map((term) => scaled(w, term.loss, term.weight)).reduce((a, b) => add(w, a, b)),
        seeds: new Map(terms.flatMap(({ seeds, weight }) => [...seeds].map(([name, by]) => [name, scaled(w, by, weight)]))), // prettier-ignore
        ...(own.counts ? { counts: own.counts } : {}),
      };
    },
  };
}
