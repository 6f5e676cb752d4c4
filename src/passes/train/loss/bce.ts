import * as z from 'zod';
import type { Loss } from '../../../autodiff/training_graph.ts';
import {
  add,
  div,
  mul,
  positive,
  scaled,
  sub,
  sum,
  unary,
  type GraphWriter,
  type Value,
} from '../../../autodiff/writer.ts';
import type { LossKind } from '../kinds.ts';
import { rowsInput, sharesInput } from './cross_entropy.ts';
import { classAxis, logitsOption, outputOf, positionsOf, scoreOptions, settledScores, wantedOf, type ScoreOptions } from './targets.ts'; // prettier-ignore

/**
 * Mean over the counted elements of −t log σ(z) − (1 − t) log(1 − σ(z)), written as max(z, 0) − z t + log(1 + e^−|z|); its gradient is (σ(z) − t) / n.
 * @param logits false where a Sigmoid ends the graph: then logarithms are held at −100, and the gradient is (p − t) / max(p (1 − p), 1e-12) / n, as
 *   in PyTorch.
 */
function binaryCrossEntropy({ output, axis: named, logits = true }: ScoreOptions & { logits?: boolean } = {}): Loss {
  return {
    write(w, outputs, input) {
      const [name, y] = outputOf(outputs, output);
      const axis = classAxis(y.dims, named);
      const t = input(sharesInput, 'float32', y.dims);
      const counted = input(rowsInput, 'float32', positionsOf(y.dims, axis));
      const all = [...y.dims.keys()];
      const rows = sum(w, counted, all);
      const count = scaled(w, w.op('Max', [rows, w.scalar(1)], []), y.dims[axis]!);
      const { each, slope } = logits ? ofScores(w, y, t) : ofShares(w, y, t);
      const share = (x: Value): Value => div(w, mul(w, x, counted), count);
      const counts = new Map([['counted', rows]]);
      // With several classes an answer may be any of their subsets, and none is the one that is right.
      if (y.dims[axis] === 1) counts.set('correct', hits(w, logits ? y : sub(w, y, w.scalar(0.5)), t, counted));
      return { loss: sum(w, share(each), all), seeds: new Map([[name, share(slope)]]), counts };
    },
  };
}

function ofScores(w: GraphWriter, z: Value, t: Value) {
  const least = unary(w, 'Log', add(w, w.scalar(1), unary(w, 'Exp', unary(w, 'Neg', unary(w, 'Abs', z)))));
  return { each: add(w, sub(w, unary(w, 'Relu', z), mul(w, z, t)), least), slope: sub(w, unary(w, 'Sigmoid', z), t) };
}

function ofShares(w: GraphWriter, p: Value, t: Value) {
  const rest = sub(w, w.scalar(1), p);
  const log = (x: Value): Value => w.op('Max', [unary(w, 'Log', x), w.scalar(-100)], x.dims);
  const each = unary(w, 'Neg', add(w, mul(w, t, log(p)), mul(w, sub(w, w.scalar(1), t), log(rest))));
  const spread = w.op('Max', [mul(w, p, rest), w.scalar(1e-12)], p.dims);
  return { each, slope: div(w, sub(w, p, t), spread) };
}

/** How many counted numbers are on the side of 0 that the answer is on of ½. */
function hits(w: GraphWriter, z: Value, t: Value, counted: Value): Value {
  const side = unary(w, 'Abs', sub(w, positive(w, z), positive(w, sub(w, t, w.scalar(0.5)))));
  return sum(w, mul(w, sub(w, w.scalar(1), side), counted), [...z.dims.keys()]);
}

const options = z.strictObject({
  label_smoothing: z
    .number()
    .min(0)
    .lt(1)
    .default(0)
    .meta({ description: 'share of each answer that becomes one half' }),
  ...scoreOptions,
  logits: logitsOption,
});

export const bceKind: LossKind<z.infer<typeof options>> = {
  name: 'bce',
  summary: 'each class apart, yes or no: of expected outputs, or of labels; one class takes labels 0 and 1',
  source: 'torch.nn.BCEWithLogitsLoss and BCELoss',
  options,
  make: binaryCrossEntropy,
  feeds(o, batch, outputs) {
    const [name, dims] = outputOf(outputs, o.output);
    const { target, counted } = wantedOf(batch, name, dims, {
      ...o,
      smoothing: o.label_smoothing,
      rest: o.label_smoothing / 2,
    });
    return { [sharesInput]: target, [rowsInput]: counted };
  },
  settled: (o, model, batch, outputs) => settledScores(o, model, batch, outputs, ['Sigmoid']),
};
