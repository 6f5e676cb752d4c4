import type { Feeds, Tensor } from '../../../data/types.ts';
import { edit } from '../../../graph/edit.ts';
import type { Model } from '../../../graph/model.ts';
import { initializers } from '../../../graph/query.ts';
import { comparable } from '../../../graph/selections.ts';
import { dimsOf, floatData, makeTensor } from '../../../graph/tensor.ts';
import type { PassContext } from '../../pass.ts';
import { linearSizes, readRows, writeRows } from '../../rows.ts';
import type { Reader } from './order.ts';

/** The model whose readers have the weights that are best without some channels, biases made up for the means. */
export function withReaders(model: Model, readers: readonly Reader[]): Model {
  const stored = initializers(model.graph);
  return edit(model, (draft) => {
    for (const { site, problems, means } of readers) {
      const tensor = stored.get(site.tensor);
      if (!tensor) continue;
      const own = readRows(site, floatData(tensor));
      const { groups, rows, size } = linearSizes(site);
      const weights = new Float64Array(own.length);
      problems.forEach((p, g) => weights.set(p.weights, g * rows * size));
      const refitted = Float32Array.from(writeRows(site, weights));
      draft.replace(site.tensor, makeTensor(site.tensor, 'float32', site.dims, refitted));
      const bias = site.bias ? stored.get(site.bias) : undefined;
      if (!bias || !site.canBias) continue;
      const shifted = floatData(bias).map((b, out) => {
        const g = Math.floor(out / ((groups * rows) / groups));
        let sum = b;
        for (let k = 0; k < size; k++) sum += (own[out * size + k]! - weights[out * size + k]!) * means[g * size + k]!;
        return sum;
      });
      draft.replace(bias.name, makeTensor(bias.name, 'float32', dimsOf(bias), shifted));
    }
  });
}

/** How far the outputs of two models are apart: Σ‖o − o₀‖² / Σ‖o₀ − mean‖², the mean over their float outputs. */
export async function outputError(ctx: PassContext, model: Model, float: Model, samples: number): Promise<number> {
  const { compared: names } = comparable(model, float);
  const sums = new Map<string, { error: number; count: number; sum: number; squares: number }>();
  const floats = ctx.capture(float, names, samples)[Symbol.asyncIterator]();
  for await (const values of ctx.capture(model, names, samples)) {
    const wanted = (await floats.next()).value as Feeds;
    for (const name of names) {
      const [a, b] = [values[name] as Tensor, wanted[name] as Tensor];
      if (b.type !== 'float32') continue;
      const state = sums.get(name) ?? { error: 0, count: 0, sum: 0, squares: 0 };
      const [x, y] = [a.data as Float32Array, b.data as Float32Array];
      for (let i = 0; i < y.length; i++) {
        const [v, w] = [x[i]!, y[i]!];
        // An infinity that is the same in both is no error.
        if (v === w && !Number.isFinite(w)) continue;
        state.count++;
        state.error += (v - w) ** 2;
        state.sum += w;
        state.squares += w * w;
      }
      sums.set(name, state);
    }
  }
  const errors = [...sums.values()].map((s) => s.error / Math.max(s.squares - s.sum ** 2 / s.count, 1e-12));
  return errors.reduce((a, b) => a + b, 0) / Math.max(1, errors.length);
}
