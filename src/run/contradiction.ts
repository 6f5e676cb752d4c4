import { coverage } from '../analyze/coverage.ts';
import type { Model } from '../graph/model.ts';
import { productOf } from '../graph/ops.ts';
import { layerName } from '../graph/query.ts';
import type { Note } from '../passes/pass.ts';

/**
 * A layer that a quantizer left in float and that runs on an integer kernel all the same, as a sentence: onnxruntime quantizes some
 * layers by itself as it loads a model. One that did so before the stage is none. Undefined where there is none.
 */
export async function contradiction(
  before: Model,
  after: Model,
  skipped: readonly Note[],
): Promise<string | undefined> {
  const left = new Map(skipped.map(({ layer, text }) => [layer, text]));
  const layers = new Set(after.graph.node.filter((node) => productOf(node) !== undefined).map(layerName));
  if (![...left.keys()].some((layer) => layers.has(layer))) return undefined;
  const integer = async (model: Model) => (await coverage(model)).filter(({ kernel }) => kernel === 'integer');
  const wrong = (await integer(after)).filter(({ layer }) => left.has(layer) && layers.has(layer));
  if (wrong.length === 0) return undefined;
  const already = new Set((await integer(before)).map(({ layer }) => layer));
  const found = wrong.find(({ layer }) => !already.has(layer));
  return (
    found &&
    `${found.layer} was left in float (${left.get(found.layer)}), but onnxruntime ${found.why.replace('runs as', 'runs it as')}`
  );
}
