import * as z from 'zod';
import { buildTraining, type Loss } from '../../autodiff/training_graph.ts';
import type { Feeds, Tensor } from '../../data/types.ts';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { initializers, modelInputs } from '../../graph/query.ts';
import { dimsOf, floatData, makeTensor } from '../../graph/tensor.ts';
import { QtoolError } from '../../util/error.ts';
import { given, must } from '../../util/must.ts';
import type { Note, Pass, PassContext } from '../pass.ts';
import { meanSquaredError, wantedInput } from './loss/mse.ts';
import { adam, adamScalars } from './optimizer/adam.ts';
import { prepareTraining, trainableBy } from './prepared.ts';
import { firstState, float, nonZeros, scalarFeeds, steps } from './step.ts';

const options = z.strictObject({
  epochs: z.int().positive().default(5).meta({ description: 'times that all samples are gone through' }),
  lr: z.number().positive().default(2e-4).meta({ description: "Adam's step; it falls to 0 along a half cosine" }),
  samples: z.int().positive().default(512).meta({ description: 'calibration samples to train on' }),
  keep_zeros: z.boolean().default(true).meta({ description: 'weights that are 0 (pruned ones) stay 0' }),
});

/**
 * Trains all weights of a float model so that its outputs come near those of the float model that the run began with: what pruning cost is won
 * back without labels. Adam on the mean squared error of the outputs; normalizations keep their statistics.
 */
export const finetune: Pass<z.infer<typeof options>> = {
  name: 'train/finetune',
  section: 'extensions',
  classes: ['FineTuning'],
  summary:
    'trains the weights towards the outputs of the float model, on calibration samples without labels; after pruning',
  source:
    'Hinton, Vinyals and Dean 2015 (arXiv 1503.02531), section 2.1, in the limit of high temperature; Kingma and Ba 2015 (arXiv 1412.6980)',
  options,
  async apply(model, o, ctx) {
    const { first, steps: perEpoch } = await lookAt(ctx, model, o.samples);
    const step = await trainingStep(model, o, ctx, first);
    const { graph, changed, skipped } = step;
    let state = firstState(graph);
    const losses: number[] = [];
    const all = perEpoch * o.epochs;
    let t = 0;
    let limit: number | undefined;
    const feeds = (batch: Feeds): Feeds => {
      const lr = (o.lr * (1 + Math.cos((Math.PI * t) / all))) / 2;
      return { ...batch, ...step.masks, ...scalarFeeds(graph, adamScalars(lr, ++t)) };
    };
    for (let epoch = 0; epoch < o.epochs; epoch++) {
      let [total, batches] = [0, 0];
      const course = { graph, state, batches: taught(ctx, model, o.samples, first), feeds };
      for await (const { batch, loss, state: next } of steps(course, ctx)) {
        state = next;
        // Worse than ten times the start, and than outputs of nothing but zeros.
        limit ??= Math.max(10 * loss, power(batch));
        if (!Number.isFinite(loss) || loss > limit) throw diverged(o.lr, epoch, loss);
        if (t === 1 && loss < asGood * power(batch)) return { model, changed: [], skipped, notes: ['the outputs are those of the float model already: there is nothing to train'] }; // prettier-ignore
        total += loss;
        batches++;
        ctx.progress(t / all, `epoch ${epoch + 1} of ${o.epochs}, loss ${(total / batches).toPrecision(3)}`);
      }
      losses.push(total / batches);
    }
    const trained = edit(model, (draft) => {
      for (const name of step.trainable) {
        const { data, dims } = given(state[must(graph.held, name, 'the parameter')], name);
        draft.replace(name, makeTensor(name, 'float32', dims, data as Float32Array));
      }
    });
    const fell = `mean squared error of the outputs ${losses.map((loss) => loss.toPrecision(3)).join(', ')} in ${o.epochs} epochs of ${perEpoch} steps`;
    return { model: trained, changed, skipped, notes: [fell] };
  },
};

/** An error of so small a share of the outputs' power, 100 dB, is rounding. */
const asGood = 1e-10;

/** The mean square of the wanted outputs, summed over them as the loss is. */
function power(batch: Feeds): number {
  const wanted = Object.entries(batch).filter(([name]) => name.startsWith(wantedInput('')));
  const squares = wanted.map(([, { data }]) => (data as Float32Array).reduce((sum, v) => sum + v * v, 0) / data.length);
  return squares.reduce((a, b) => a + b, 0);
}

const diverged = (lr: number, epoch: number, loss: number): QtoolError =>
  new QtoolError('runtime', `training diverges: a loss of ${loss} in epoch ${epoch + 1}`, { at: `lr ${lr}`, hint: 'give a smaller lr' }); // prettier-ignore

/** The first batch of calibration inputs, whose size is that of all steps, and how many there are. */
async function lookAt(ctx: PassContext, model: Model, samples: number) {
  let first: Feeds | undefined;
  let count = 0;
  for await (const feeds of ctx.capture(ctx.reference, inputNames(model), samples)) {
    first ??= feeds;
    count++;
  }
  if (!first) throw new QtoolError('data', 'there are no calibration samples to train on');
  return { first, steps: count };
}

const inputNames = (model: Model): string[] => modelInputs(model).map(({ name }) => name);

/** What the float model gives, too: an early exit has nothing to be compared with. */
function comparedOutputs(model: Model, ctx: PassContext): string[] {
  const theirs = new Set(ctx.reference.graph.output.map(({ name }) => name));
  return model.graph.output.map(({ name }) => name).filter((name) => theirs.has(name));
}

/** Inputs with the float model's outputs. A last batch of fewer samples is filled up with samples of its own, from its beginning. */
async function* taught(ctx: PassContext, model: Model, samples: number, first: Feeds): AsyncGenerator<Feeds> {
  const outputs = comparedOutputs(model, ctx);
  const rows = Object.values(first)[0]?.dims[0] ?? 1;
  for await (const all of ctx.capture(ctx.reference, [...inputNames(model), ...outputs], samples))
    yield Object.fromEntries(
      Object.entries(all).map(([name, tensor]) => [
        outputs.includes(name) ? wantedInput(name) : name,
        filled(tensor, rows),
      ]),
    );
}

function filled(tensor: Tensor, rows: number): Tensor {
  const have = tensor.dims[0] ?? rows;
  if (have >= rows || have === 0) return tensor;
  const data = tensor.data as Float32Array;
  const each = data.length / have;
  const wide = new (data.constructor as Float32ArrayConstructor)(each * rows);
  for (let row = 0; row < rows; row++)
    wide.set(data.subarray((row % have) * each, ((row % have) + 1) * each), row * each);
  return { ...tensor, dims: [rows, ...tensor.dims.slice(1)], data: wide };
}

/** The graph of one step, what it trains, and the masks of weights with zeros. */
async function trainingStep(model: Model, o: z.infer<typeof options>, ctx: PassContext, first: Feeds) {
  const prepared = await prepareTraining(model, first, ctx);
  const { model: plain, shapes } = prepared;
  const compared = new Set(comparedOutputs(model, ctx));
  const error = meanSquaredError();
  const loss: Loss = { write: (w, outputs, input) => error.write(w, new Map([...outputs].filter(([name]) => compared.has(name))), input) }; // prettier-ignore
  const { trainable, skipped } = trainableBy(prepared, loss, ctx.device);
  const tensors = initializers(plain.graph);
  const data = (name: string): Float32Array => floatData(must(tensors, name, 'the weight'));
  const zeros = o.keep_zeros ? trainable.filter((name) => data(name).includes(0)) : [];
  const graph = buildTraining(plain, shapes, {
    trainable,
    loss,
    optimizer: adam(),
    masks: new Map(zeros.map((name) => [name, {}])),
    target: ctx.device,
  });
  const masks: Feeds = Object.fromEntries(zeros.map((name) => [must(graph.masks, name, 'the mask'), float(nonZeros(data(name)), dimsOf(must(tensors, name, 'the weight')))])); // prettier-ignore
  const changed: Note[] = trainable.map((name) => ({
    layer: name,
    text: zeros.includes(name) ? 'trained, its zeros kept' : 'trained',
  }));
  return { graph, trainable, masks, changed, skipped };
}
