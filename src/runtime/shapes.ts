import type { Batch, Feeds } from '../data/types.ts';
import { makeNode, makeValue } from '../graph/build.ts';
import { dtypeOf, type DType } from '../graph/dtype.ts';
import { edit } from '../graph/edit.ts';
import type { Model } from '../graph/model.ts';
import { ValueInfoCodec } from '../graph/proto.ts';
import { initializers, producers } from '../graph/query.ts';
import type { Shapes } from '../graph/shapes.ts';
import { dimsOf, typeOf } from '../graph/tensor.ts';
import { QtoolError } from '../util/error.ts';
import { textOf } from './explain.ts';
import { expose } from './expose.ts';
import { withSession } from './session.ts';

/**
 * Type and concrete shape of every tensor of the main graph on one batch: inputs and initializers from what is at hand, all
 * others from one run in onnxruntime that returns only their shapes (a Shape node after each), so that memory stays that of
 * one run. value_info is not believed: exporters leave stale entries. Sequences, maps and values inside If/Loop bodies have
 * no entry.
 */
export async function inferShapes(model: Model, batch: Batch): Promise<Shapes> {
  const shapes: Found = new Map();
  for (const [name, tensor] of initializers(model.graph))
    shapes.set(name, { type: typeOf(tensor), dims: dimsOf(tensor) });
  for (const [name, tensor] of Object.entries(batch.feeds)) shapes.set(name, { type: tensor.type, dims: tensor.dims });

  const computed = [...producers(model.graph).keys()];
  // One session is quicker than two, but holds all values of the batch at once.
  const quick = batch.size === 1 ? await shapesOf(model, computed, batch) : undefined;
  const results = quick ?? (await shapesByType(model, computed, batch));
  return new Map([...shapes, ...results]);
}

type Found = Map<string, { readonly type: DType; readonly dims: readonly number[] }>;

/** All shapes from one session; undefined where a value's type cannot cross to JavaScript, or it is no tensor. */
async function shapesOf(model: Model, names: readonly string[], batch: Batch): Promise<Found | undefined> {
  const probe = withShapeOutputs(model, names, true);
  try {
    return await withSession(probe.model, { optimization: 'disabled' }, async (session) => {
      const types = new Map(session.outputs.map((facts) => [facts.name, facts.type]));
      // The values are outputs for their types only; asked for is nothing but their shapes.
      const dims = await session.run(batch.feeds, [...probe.outputs.values()]);
      return shapesFrom(types, dims, probe.outputs);
    });
  } catch (error) {
    // A Shape node of a sequence is not valid, and says so when loading.
    if (error instanceof QtoolError && error.code === 'runtime') return undefined;
    throw error;
  }
}

async function shapesByType(model: Model, names: readonly string[], batch: Batch): Promise<Found> {
  const types = await typesOf(model, names);
  const probe = withShapeOutputs(model, [...types.keys()], false);
  if (types.size === 0) return new Map();
  return withSession(probe.model, { optimization: 'disabled' }, async (session) =>
    shapesFrom(types, await session.run(batch.feeds), probe.outputs),
  );
}

function shapesFrom(types: ReadonlyMap<string, DType>, dims: Feeds, outputs: ReadonlyMap<string, string>): Found {
  const found: Found = new Map();
  for (const [name, output] of [...outputs].reverse()) {
    const type = types.get(name);
    if (type !== undefined) found.set(name, { type, dims: Array.from(dims[output]?.data as BigInt64Array, Number) });
  }
  return found;
}

/**
 * The element types that onnxruntime infers for these values; values that are no tensors have no entry. Types that cannot
 * cross to JavaScript (bfloat16, float8, 2 bit) make session creation fail without naming the value, so the list is halved
 * until it is found.
 */
async function typesOf(model: Model, values: readonly string[]): Promise<Map<string, DType>> {
  if (values.length === 0) return new Map();
  try {
    return await withSession(expose(model, values), { optimization: 'disabled' }, async (session) => {
      return new Map(session.outputs.map((facts) => [facts.name, facts.type]));
    });
  } catch (error) {
    const code = /Unsupported data type: (\d+)/.exec(textOf(error instanceof QtoolError ? error.cause : error))?.[1];
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

/** The model with the shapes of these values as outputs, and on request the values themselves. */
function withShapeOutputs(
  model: Model,
  names: readonly string[],
  values: boolean,
): { model: Model; outputs: Map<string, string> } {
  const outputs = new Map<string, string>();
  const changed = edit(model, (draft) => {
    // In reverse, so that onnxruntime takes each shape right after its value and frees that (see tap.ts on the order of leaves).
    for (const name of [...names].reverse()) {
      const shape = draft.freshName(`${name}_shape`);
      outputs.set(name, shape);
      draft.addNode(makeNode('Shape', [name], [shape]));
    }
    const known = values ? names.map((name) => ValueInfoCodec.create({ name })) : [];
    draft.setOutputs([...known, ...[...outputs.values()].map((name) => makeValue(name, 'int64'))]);
  });
  return { model: changed, outputs };
}
