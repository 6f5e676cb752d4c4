import type { Model } from '../../graph/model.ts';
import { consumers, isOp, layerName, modelInputs, producers, reads } from '../../graph/query.ts';
import type { QuantizedLayer } from './sites.ts';

/** The other value of the Add that a layer's output goes to, in the quantized model and in its float twin. */
export interface Beside {
  readonly value: string;
  readonly twin: string;
}

/**
 * For each layer whose output goes to an Add and nowhere else: what it is added to, by layer name. Left out where that depends on
 * the layer itself or on one that is changed later, and where it is a constant or computed from constants (the positions of a
 * transformer behind DequantizeLinear): what no input reaches is the same in both models.
 */
export function besides(model: Model, twin: Model, layers: readonly QuantizedLayer[]): Map<string, Beside> {
  const readers = consumers(model.graph);
  const made = producers(model.graph);
  const twins = new Map(twin.graph.node.map((node) => [layerName(node), node]));
  const outputs = new Set(model.graph.output.map(({ name }) => name));
  const inputs = new Set(modelInputs(model).map(({ name }) => name));
  const found = new Map<string, Beside>();
  const open = new Set(layers.map((layer) => layer.node.output[0] as string));
  /** Whether a value is known once the layers before it are: it comes from an input, and from no layer still open. */
  const known = (value: string): boolean => {
    const seen = new Set<string>();
    const rest = [value];
    let fed = false;
    for (let name = rest.pop(); name !== undefined; name = rest.pop()) {
      if (open.has(name)) return false;
      if (seen.has(name)) continue;
      seen.add(name);
      fed ||= inputs.has(name);
      const node = made.get(name);
      if (node) rest.push(...reads(node));
    }
    return fed;
  };
  for (const layer of layers) {
    const own = layer.node.output[0] as string;
    let value = own;
    let reader = sole(value);
    while (reader && isOp(reader, 'QuantizeLinear', 'DequantizeLinear')) {
      value = reader.output[0] as string;
      reader = sole(value);
    }
    const other = reader && isOp(reader, 'Add') ? twins.get(layerName(reader)) : undefined;
    if (reader && other) {
      const place = reader.input[0] === value ? 1 : 0;
      const [beside, float] = [reader.input[place] as string, other.input[place] as string];
      if (beside !== value && !inputs.has(beside) && known(beside))
        found.set(layer.name, { value: beside, twin: float });
    }
    open.delete(own);
  }
  return found;

  function sole(value: string) {
    const all = readers.get(value) ?? [];
    return all.length === 1 && !outputs.has(value) ? all[0] : undefined;
  }
}
