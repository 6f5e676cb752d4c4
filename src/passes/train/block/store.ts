import { edit } from '../../../graph/edit.ts';
import type { Model } from '../../../graph/model.ts';
import { partOf } from '../../../graph/part.ts';
import { consumers, initializers, isOp, layerName, producers } from '../../../graph/query.ts';
import { dimsOf, makeTensor, tensorData } from '../../../graph/tensor.ts';
import { given, must } from '../../../util/must.ts';
import { storeLayer } from '../../recover/sites.ts';
import type { Block } from './blocks.ts';
import type { BlockLearned } from './learn.ts';
import type { RelaxedWeights } from './relaxed.ts';
import { roundings, type Rounding } from './roundings.ts';

/** What was stored: the model, weights that have another code than before, and what is to be said of it. */
export interface StoredBlock {
  readonly model: Model;
  readonly moved: number;
  readonly weights: number;
  readonly text: string;
}

/** Writes what a block learned: codes, biases, scales of activations with the biases that go by them. */
export function storeBlock(
  model: Model,
  weights: readonly RelaxedWeights[],
  scales: ReadonlySet<string>,
  learned: BlockLearned,
): StoredBlock {
  const made = producers(model.graph);
  const before = new Map(roundings(model).map(({ scaleName, scale }) => [scaleName, scale]));
  let [moved, count, text] = [0, 0, ''];
  const next = edit(model, (draft) => {
    for (const name of scales) {
      const tensor = must(initializers(model.graph), name, 'the scale');
      const scale = learned.scale(name, must(before, name, 'the scale'));
      draft.replace(name, makeTensor(name, 'float32', dimsOf(tensor), Float32Array.of(scale)));
    }
    for (const one of weights) {
      const { layer } = one;
      const stored = one.codes(must(learned.v, layer.name, 'the roundings of'));
      const old = tensorData(layer.codes) as Int8Array;
      moved += stored.reduce((n, code, i) => n + (code === old[i] ? 0 : 1), 0);
      count += stored.length;
      const scaleName = made.get(layer.node.input[0] ?? '')?.input[1] ?? '';
      const correction = learned.bias(layer.name);
      if (!scales.has(scaleName)) {
        text += storeLayer(draft, layer, { codes: stored, ...(correction && { correction }) });
        continue;
      }
      const inputScale = Math.fround(learned.scale(scaleName, must(before, scaleName, 'the scale')));
      const bias = layer.bias && { ...layer.bias, inputScale };
      text += storeLayer(draft, { ...layer, bias }, { codes: stored, scale: layer.scale, ...(correction && { correction }) }); // prettier-ignore
    }
  });
  return { model: next, moved, weights: count, text };
}

/**
 * The scales of activations that a block may change: all that read them are roundings of the block, and all biases in units of
 * them are of its layers.
 */
export function learnableScales(model: Model, { inputs, outputs, layers }: Block): ReadonlySet<string> {
  const ends = new Set(inputs.map(({ value }) => value));
  const own = new Set(partOf(model, outputs.map(({ value }) => value), ends).nodes.map(layerName)); // prettier-ignore
  const readers = consumers(model.graph);
  const known = new Map(layers.map((layer) => [layer.name, layer]));
  const byScale = new Map<string, Rounding[]>();
  for (const one of roundings(model)) byScale.set(one.scaleName, [...(byScale.get(one.scaleName) ?? []), one]);
  const fits = ({ restored }: Rounding): boolean =>
    (readers.get(restored) ?? []).every((node) => {
      if (!isOp(node, 'Conv', 'Gemm', 'MatMul')) return true;
      const layer = known.get(layerName(node));
      return layer !== undefined && ((node.input[2] ?? '') === '' || layer.bias !== undefined);
    });
  return new Set(
    [...byScale].flatMap(([name, all]) => {
      const nodes = new Set(all.flatMap(({ quantize, restore }) => [quantize, restore]));
      const alone = given(readers.get(name), name).every((node) => nodes.has(node) && own.has(layerName(node)));
      return alone && all.every(fits) ? [name] : [];
    }),
  );
}
