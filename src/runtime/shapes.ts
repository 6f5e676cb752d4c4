import type { Batch } from '../data/types.ts';
import { makeNode, makeValue } from '../graph/build.ts';
import { dtypeOf, type DType } from '../graph/dtype.ts';
import { edit } from '../graph/edit.ts';
import type { Model } from '../graph/model.ts';
import { initializers } from '../graph/query.ts';
import type { Shapes } from '../graph/shapes.ts';
import { dimsOf, typeOf } from '../graph/tensor.ts';
import { QtoolError } from '../util/error.ts';
import { computedValues, expose } from './expose.ts';
import { withSession } from './session.ts';

/**
 * Type and concrete shape of every tensor of the main graph on one batch: inputs and initializers from what is at hand, all
 * others from one run in onnxruntime that returns only their shapes (a Shape node after each), so that memory stays that of
 * one run. value_info is not believed: exporters leave stale entries. Sequences, maps and values inside If/Loop bodies have
 * no entry.
 */
export async function inferShapes(model: Model, batch: Batch): Promise<Shapes> {
  const shapes = new Map<string, { type: DType; dims: readonly number[] }>();
  for (const [name, tensor] of initializers(model.graph))
    shapes.set(name, { type: typeOf(tensor), dims: dimsOf(tensor) });
  for (const [name, tensor] of Object.entries(batch.feeds)) shapes.set(name, { type: tensor.type, dims: tensor.dims });

  const types = await typesOf(model, computedValues(model));
  const names = [...types.keys()];
  if (names.length === 0) return shapes;
  const probe = withShapeOutputs(model, names);
  await withSession(probe.model, { optimization: 'disabled' }, async (session) => {
    const results = await session.run(batch.feeds, [...probe.outputs.values()]);
    for (const name of names) {
      const dims = results[probe.outputs.get(name) as string]?.data as BigInt64Array;
      shapes.set(name, { type: types.get(name) as DType, dims: Array.from(dims, Number) });
    }
  });
  return shapes;
}

/**
 * The element types that onnxruntime infers for these values; values that are no tensors have no entry. Types that cannot
 * cross to JavaScript (bfloat16, float8, 2 bit) make session creation fail without naming the value, so the list is halved
 * until it is found.
 */
export async function typesOf(model: Model, values: readonly string[]): Promise<Map<string, DType>> {
  if (values.length === 0) return new Map();
  try {
    return await withSession(expose(model, values), { optimization: 'disabled' }, async (session) => {
      return new Map(session.outputs.map((facts) => [facts.name, facts.type]));
    });
  } catch (error) {
    const code = /Unsupported data type: (\d+)/.exec(causeOf(error))?.[1];
    if (code === undefined) throw error;
    const [only] = values;
    if (values.length === 1 && only !== undefined) {
      const type = dtypeOf(Number(code));
      return new Map(type === undefined ? [] : [[only, type]]);
    }
    const middle = values.length >> 1;
    const left = await typesOf(model, values.slice(0, middle));
    return new Map([...left, ...(await typesOf(model, values.slice(middle)))]);
  }
}

function causeOf(error: unknown): string {
  const cause = error instanceof QtoolError ? error.cause : error;
  return cause instanceof Object && 'message' in cause ? String(cause.message) : '';
}

/** The model with nothing but the shapes of these values as outputs. */
function withShapeOutputs(model: Model, names: readonly string[]): { model: Model; outputs: Map<string, string> } {
  const outputs = new Map<string, string>();
  const changed = edit(model, (draft) => {
    for (const name of names) {
      const shape = draft.freshName(`${name}_shape`);
      outputs.set(name, shape);
      draft.addNode(makeNode('Shape', [name], [shape]));
    }
    draft.setOutputs([...outputs.values()].map((name) => makeValue(name, 'int64')));
  });
  return { model: changed, outputs };
}
