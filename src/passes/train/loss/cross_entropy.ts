import type { Loss } from '../../../autodiff/training_graph.ts';
import { div, mul, reshape, sub, sum, unary, type GraphWriter, type Value } from '../../../autodiff/writer.ts';
import { elementCount } from '../../../graph/tensor.ts';

/** Name of the graph input that holds the wanted classes as shares, [rows, classes]. */
export const sharesInput = 'target_shares';
/** Name of the graph input that says which rows count: 1 or 0, [rows, 1]. */
export const rowsInput = 'counted_rows';

/**
 * Mean over the counted rows of −Σ q log softmax(z), z the scores and q the wanted shares of the classes: one-hot, or smoothed, or mixed. Its
 * gradient by z is (softmax(z) − q) a row. Scores of any rank: classes along the last axis, each position of a sequence a row.
 *
 * Source: Goodfellow, Bengio and Courville, Deep Learning (2016), 6.2.2.3.
 * @param output which output of the model holds the scores; its only one where none is named.
 * @param logits whether the output holds scores; false where a Softmax ends the graph: log is taken of what it gives.
 */
export function crossEntropy({ output, logits = true }: { output?: string | undefined; logits?: boolean } = {}): Loss {
  return {
    write(w, outputs, input) {
      const name = output ?? [...outputs.keys()][0] ?? '';
      const scores = outputs.get(name)!;
      const classes = scores.dims.at(-1)!;
      const rows = elementCount(scores.dims) / classes;
      const z = reshape(w, scores, [rows, classes]);
      const shares = input(sharesInput, 'float32', [rows, classes]);
      const counted = input(rowsInput, 'float32', [rows, 1]);
      const count = w.op('Max', [sum(w, counted, [0, 1]), w.scalar(1)], []);
      const weighted = mul(w, shares, counted);
      const logarithm = logits ? logSoftmax(w, z) : unary(w, 'Log', w.op('Max', [z, w.scalar(1e-30)], z.dims));
      const loss = unary(w, 'Neg', div(w, sum(w, mul(w, weighted, logarithm), [0, 1]), count));
      const slope = logits
        ? sub(w, mul(w, unary(w, 'Exp', logarithm), mul(w, sum(w, shares, [1], true), counted)), weighted)
        : unary(w, 'Neg', div(w, weighted, w.op('Max', [z, w.scalar(1e-30)], z.dims)));
      const seed = reshape(w, div(w, slope, count), scores.dims);
      return { loss, seeds: new Map([[name, seed]]), counts: new Map([['correct', correct(w, z, shares, counted)]]) };
    },
  };
}

/** z − max − log Σ exp(z − max): of operators that WebGPU has, too. */
function logSoftmax(w: GraphWriter, z: Value): Value {
  const axis = z.dims.length - 1;
  const kept = z.dims.map((size, i) => (i === axis ? 1 : size));
  const top = w.op('ReduceMax', [z, w.ints([axis])], kept, { keepdims: 1 });
  const centred = sub(w, z, top);
  return sub(w, centred, unary(w, 'Log', sum(w, unary(w, 'Exp', centred), [axis], true)));
}

/** How many counted rows have their largest score where the largest share is. */
function correct(w: GraphWriter, z: Value, shares: Value, counted: Value): Value {
  const best = (x: Value): Value => w.op('ArgMax', [x], [x.dims[0]!, 1], { axis: 1, keepdims: 1 });
  const equal = w.op('Equal', [best(z), best(shares)], [z.dims[0]!, 1]);
  return sum(w, mul(w, w.op('Cast', [equal], [z.dims[0]!, 1], { to: 1 }), counted), [0, 1]);
}
