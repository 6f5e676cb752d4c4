import * as z from 'zod';
import type { Loss } from '../../../autodiff/training_graph.ts';
import { div, mul, sub, sum, unary, type GraphWriter, type Value } from '../../../autodiff/writer.ts';
import { QtoolError } from '../../../util/error.ts';
import type { LossKind } from '../kinds.ts';
import { classAxis, logitsOption, outputOf, positionsOf, scoreOptions, settledScores, wantedOf, type ScoreOptions } from './targets.ts'; // prettier-ignore

/** Name of the graph input that holds the wanted classes as shares, of the shape of the scores. */
export const sharesInput = 'target_shares';
/** Name of the graph input that says which positions count: 1 or 0, of the shape of the scores with one class. */
export const rowsInput = 'counted_rows';

/**
 * Mean over the counted positions of −Σ q log softmax(z), z the scores and q the wanted shares of the classes: one-hot, or smoothed, or mixed. Its
 * gradient by z is (softmax(z) − q) / count. Scores of any rank: each place of a sequence or of an image is a position.
 *
 * Source: Goodfellow, Bengio and Courville, Deep Learning (2016), 6.2.2.3.
 * @param output which output of the model holds the scores; the first where none is named.
 * @param axis of the classes; the last where none is named.
 * @param logits whether the output holds scores; false where a Softmax ends the graph: log is taken of what it gives.
 */
export function crossEntropy({ output, axis: named, logits = true }: ScoreOptions & { logits?: boolean } = {}): Loss {
  return {
    write(w, outputs, input) {
      const [name, scores] = outputOf(outputs, output);
      const { dims } = scores;
      const axis = classAxis(dims, named);
      const all = [...dims.keys()];
      const shares = input(sharesInput, 'float32', dims);
      const counted = input(rowsInput, 'float32', positionsOf(dims, axis));
      const counts = sum(w, counted, all);
      const count = w.op('Max', [counts, w.scalar(1)], []);
      const weighted = mul(w, shares, counted);
      const held = (): Value => w.op('Max', [scores, w.scalar(1e-30)], dims);
      const logarithm = logits ? logSoftmax(w, scores, axis) : unary(w, 'Log', held());
      const loss = unary(w, 'Neg', div(w, sum(w, mul(w, weighted, logarithm), all), count));
      const slope = logits
        ? sub(w, mul(w, unary(w, 'Exp', logarithm), mul(w, sum(w, shares, [axis], true), counted)), weighted)
        : unary(w, 'Neg', div(w, weighted, held()));
      return {
        loss,
        seeds: new Map([[name, div(w, slope, count)]]),
        counts: new Map([['correct', correct(w, scores, shares, counted, axis)], ['counted', counts]]),
      };
    },
  };
} // prettier-ignore

/** z − max − log Σ exp(z − max): of operators that WebGPU has, too. */
export function logSoftmax(w: GraphWriter, z: Value, axis: number): Value {
  const top = w.op('ReduceMax', [z, w.ints([axis])], positionsOf(z.dims, axis), { keepdims: 1 });
  const centred = sub(w, z, top);
  return sub(w, centred, unary(w, 'Log', sum(w, unary(w, 'Exp', centred), [axis], true)));
}

/** How many counted positions have their largest score where the largest share is. */
function correct(w: GraphWriter, z: Value, shares: Value, counted: Value, axis: number): Value {
  const { dims } = counted;
  const best = (x: Value): Value => w.op('ArgMax', [x], dims, { axis, keepdims: 1 });
  const equal = w.op('Equal', [best(z), best(shares)], dims);
  return sum(w, mul(w, w.op('Cast', [equal], dims, { to: 1 }), counted), [...dims.keys()]);
}

const options = z.strictObject({
  label_smoothing: z.number().min(0).lt(1).default(0).meta({ description: 'share of each answer that is spread over all classes' }),
  ...scoreOptions,
  logits: logitsOption,
}); // prettier-ignore

export const crossEntropyKind: LossKind<z.infer<typeof options>> = {
  name: 'cross_entropy',
  summary: 'classes by labels, for each position of a sequence or an image; label −1 does not count',
  source: 'Goodfellow, Bengio and Courville 2016, Deep Learning, 6.2.2.3; Szegedy et al. 2016 (arXiv 1512.00567), section 7, for smoothing', // prettier-ignore
  options,
  make: crossEntropy,
  feeds(o, batch, outputs) {
    const [name, dims] = outputOf(outputs, o.output);
    const { target, counted } = wantedOf(batch, name, dims, { ...o, smoothing: o.label_smoothing });
    return { [sharesInput]: target, [rowsInput]: counted };
  },
  settled(o, model, batch, outputs) {
    const made = settledScores(o, model, batch, outputs, ['Softmax']);
    refuseOneClass(...outputOf(outputs, made.output), made.axis);
    return made;
  },
};

/** @throws QtoolError('schedule') for scores of a single class: their softmax is 1 whatever they are, and nothing is learned. */
export function refuseOneClass(name: string, dims: readonly number[], axis?: number): void {
  if (dims[classAxis(dims, axis)] !== 1) return;
  throw new QtoolError('schedule', `cross-entropy and distillation compare classes, and output ${name} [${dims.join(', ')}] has one`, {
    at: 'training',
    hint: 'take another output, loss: bce or mse, or hints',
  }); // prettier-ignore
}
