import * as z from 'zod';
import type { Loss } from '../../../autodiff/training_graph.ts';
import { add, div, mul, scaled, sub, sum, unary, type GraphWriter, type Value } from '../../../autodiff/writer.ts';
import type { Batch, Feeds, Tensor } from '../../../data/types.ts';
import { elementCount } from '../../../graph/tensor.ts';
import { numbersOf } from '../../../metrics/select.ts';
import { QtoolError } from '../../../util/error.ts';
import { logSoftmax, refuseOneClass } from './cross_entropy.ts';
import { squaredError } from './mse.ts';
import { float } from '../step.ts';
import { classAxis, outputOf, positionsOf } from './targets.ts';

/** Under Distiller's names. */
export const distillOptions = {
  temperature: z.number().positive().default(1).meta({ description: 'what scores of both are divided by' }),
  distill_wt: z.number().min(0).default(0.5).meta({ description: 'weight of the distance from the teacher' }),
  student_wt: z.number().min(0).default(0.5).meta({ description: 'weight of the loss by labels' }),
  teacher_wt: z
    .literal(0)
    .default(0)
    .meta({ description: "weight of the teacher's own loss: 0, as in Distiller, for the teacher is not trained" }),
};

export interface Distillation {
  readonly temperature: number;
  readonly distill_wt: number;
  readonly student_wt: number;
  /** The student's output whose scores are compared; the first where none is named. */
  readonly output?: string | undefined;
  /** Its class axis; the last where none is named. */
  readonly axis?: number | undefined;
  /** Whether the student's output and the teacher's are scores; false: shares, where a Softmax ends the graph. */
  readonly logits?: boolean;
  readonly teacherLogits?: boolean;
  /** Inner values to be made like the teacher's: outputs of the training model, and the weight of each one's mean squared error. */
  readonly hints?: ReadonlyMap<string, number>;
}

const teacherInput = (output: string): string => `teacher_${output}`;
const rowsInput = 'taught_rows';

/**
 * student_wt · L + distill_wt · T² · KL(softmax(z_t / T) ‖ softmax(z_s / T)) + Σ hint weight · mean squared error, the divergence summed over the classes
 * and averaged over the positions of the batch's samples; its gradient by z_s is distill_wt · T · (softmax(z_s / T) − softmax(z_t / T)) / count. L
 * sees the model's own outputs, not the hints; it is not written where student_wt is 0, and then needs no labels.
 *
 * Distiller has no T², so that its weights mean something else at each temperature, and copies the student's scores before it compares them, which
 * lets no gradient through; here both are as in the paper.
 * Source: Hinton, Vinyals and Dean 2015 (arXiv 1503.02531), section 2; hints: Romero et al. 2015 (arXiv 1412.6550).
 */
export function distilled(student: Loss | undefined, o: Distillation): Loss {
  return {
    write(w, outputs, input) {
      const hints = o.hints ?? new Map<string, number>();
      const own = new Map([...outputs].filter(([name]) => !hints.has(name)));
      const byLabels = student && o.student_wt > 0 ? student.write(w, own, input) : undefined;
      const seeds = new Map<string, Value>();
      const seed = (name: string, by: Value): void => {
        const before = seeds.get(name);
        seeds.set(name, before ? add(w, before, by) : by);
      };
      for (const [name, value] of byLabels?.seeds ?? []) seed(name, scaled(w, value, o.student_wt));
      const terms = byLabels ? [scaled(w, byLabels.loss, o.student_wt)] : [];
      const counts = new Map(byLabels?.counts);
      if (o.distill_wt > 0) {
        const [name, y] = outputOf(own, o.output);
        refuseOneClass(name, y.dims, o.axis);
        const far = divergence(w, y, input, name, o);
        terms.push(scaled(w, far.loss, o.distill_wt));
        seed(name, scaled(w, far.slope, o.distill_wt));
        counts.set('distill_loss', far.loss);
      }
      for (const [name, weight] of hints) {
        const [, y] = outputOf(outputs, name);
        const { loss, seed: slope } = squaredError(w, y, input(teacherInput(name), 'float32', y.dims));
        terms.push(scaled(w, loss, weight));
        seed(name, scaled(w, slope, weight));
      }
      const loss = terms.length > 0 ? terms.reduce((a, b) => add(w, a, b)) : w.scalar(0);
      return { loss, seeds, counts };
    },
  };
}

/** T² KL and its gradient by the student's output. */
function divergence(w: GraphWriter, y: Value, input: Parameters<Loss['write']>[2], name: string, o: Distillation) {
  const { temperature: t, logits = true, teacherLogits = true } = o;
  const axis = classAxis(y.dims, o.axis);
  const held = (x: Value): Value => w.op('Max', [x, w.scalar(1e-30)], x.dims);
  const cooled = (x: Value, scores: boolean): Value =>
    logSoftmax(w, scaled(w, scores ? x : unary(w, 'Log', held(x)), 1 / t), axis);
  const counted = input(rowsInput, 'float32', positionsOf(y.dims, axis));
  const all = [...y.dims.keys()];
  const count = w.op('Max', [sum(w, counted, all), w.scalar(1)], []);
  const [own, taught] = [cooled(y, logits), cooled(input(teacherInput(name), 'float32', y.dims), teacherLogits)];
  const shares = mul(w, unary(w, 'Exp', taught), counted);
  const loss = scaled(w, div(w, sum(w, mul(w, shares, sub(w, taught, own)), all), count), t * t);
  const slope = scaled(w, div(w, sub(w, mul(w, unary(w, 'Exp', own), counted), shares), count), t);
  return { loss, slope: logits ? slope : div(w, slope, held(y)) };
}

/**
 * What the graph's inputs for the teacher are fed with.
 * @param taught the teacher's outputs on the same batch, by the name of the student's output that each is for.
 * @param outputs the student's outputs, name → dims.
 * @throws QtoolError('model') where a teacher's output has another shape.
 */
export function distillFeeds(
  o: Distillation,
  taught: Feeds,
  batch: Batch,
  outputs: ReadonlyMap<string, readonly number[]>,
): Feeds {
  const hints = new Set(o.hints?.keys());
  const own = new Map([...outputs].filter(([name]) => !hints.has(name)));
  const feeds: Record<string, Tensor> = {};
  const [name, dims] = outputOf(own, o.output);
  for (const wanted of [...(o.distill_wt > 0 ? [name] : []), ...hints]) {
    const shape = outputOf(outputs, wanted)[1];
    const given = taught[wanted];
    if (!given || elementCount(given.dims) !== elementCount(shape))
      throw new QtoolError(
        'model',
        `the teacher gives ${given ? `[${given.dims.join(', ')}]` : 'nothing'} for ${wanted}, and the student [${shape.join(', ')}]`,
        {
          at: 'training.distillation',
          hint: hints.has(wanted)
            ? 'hints are values of one shape: cut no channels of them, or leave them out'
            : 'a teacher has the same classes as its student',
        },
      );
    feeds[teacherInput(wanted)] = float(Float32Array.from(numbersOf(given)), shape);
  }
  if (o.distill_wt === 0) return feeds;
  const rows = positionsOf(dims, classAxis(dims, o.axis));
  const each = elementCount(rows) / batch.size;
  return { ...feeds, [rowsInput]: float(new Float32Array(elementCount(rows)).fill(1, 0, batch.count * each), rows) };
}
