import { QtoolError } from '../util/error.ts';
import { words } from '../util/words.ts';
import type { Model } from './model.ts';
import { toNumber, type GraphProto } from './proto.ts';
import { everyNode, layerName, subgraphs } from './query.ts';
import { dimsOf } from './tensor.ts';

/** What onnxruntime 1.30 accepts: operator sets to 26, IR to 13; below opset 7 operators had other semantics. */
const supported = { opset: [7, 26], ir: 13 } as const;

/** Operator domains that stock onnxruntime carries kernels for. */
const knownDomains = new Set([
  '',
  ...words('ai.onnx ai.onnx.ml ai.onnx.preview.training com.microsoft com.microsoft.nchwc com.ms.internal.nhwc'),
]);

/**
 * Refuses, before any work, models that qtool or a stock onnxruntime cannot handle.
 * @throws QtoolError('model') naming the version or the first node of an unknown operator domain.
 */
export function checkModel(model: Model): void {
  const refuse = (message: string, hint: string): never => {
    throw new QtoolError('model', message, { at: model.path, hint });
  };
  const ir = toNumber(model.proto.ir_version);
  if (ir > supported.ir)
    refuse(
      `IR version ${ir} is newer than onnxruntime 1.30 reads (${supported.ir})`,
      'export with an older onnx package',
    );
  const entry = model.proto.opset_import.find((o) => o.domain === '' || o.domain === 'ai.onnx');
  const version = entry ? toNumber(entry.version) : 0;
  const [low, high] = supported.opset;
  if (entry && (version < low || version > high))
    refuse(
      `opset ${version} is outside what qtool handles (${low} to ${high})`,
      `export with opset ${version < low ? 13 : high}`,
    );
  const own = new Set(model.proto.functions.map((f) => `${f.domain}:${f.name}`));
  for (const node of everyNode(model.graph))
    if (!knownDomains.has(node.domain) && !own.has(`${node.domain}:${node.op_type}`))
      refuse(
        `node "${layerName(node)}" is ${node.domain}::${node.op_type}, of an operator domain that stock onnxruntime does not know`,
        'export without custom operators, or with them as local functions',
      );
  for (const graph of [model.graph, ...[...everyNode(model.graph)].flatMap(subgraphs)])
    checkInitializers(graph, refuse);
}

/**
 * Of two initializers of one name onnxruntime 1.30 takes the last where they are below 128 bytes, else the first. Sparse ones are not read
 * here. onnxruntime-node hands values over as properties of plain objects, where one name is taken.
 */
function checkInitializers(graph: Readonly<GraphProto>, refuse: (message: string, hint: string) => never): void {
  const [sparse] = graph.sparse_initializer;
  if (sparse)
    refuse(
      `the initializer "${sparse.values?.name ?? ''}" is a sparse tensor, which qtool does not read`,
      'store it dense',
    );
  const values = [...graph.input.map(({ name }) => name), ...graph.node.flatMap(({ output }) => output)];
  if (values.includes('__proto__'))
    refuse('a value is called "__proto__", which onnxruntime for Node.js cannot hand over', 'give it another name');
  const seen = new Set<string>();
  for (const tensor of graph.initializer) {
    const { name } = tensor;
    if (name === '')
      refuse(
        `an initializer of shape [${dimsOf(tensor).join(', ')}] has no name, and the empty name means an input that is left out`,
        'give it a name, also where it is read, or remove it',
      );
    if (seen.has(name))
      refuse(
        `two initializers are called "${name}": which of them counts is not defined`,
        'give each a name of its own, or remove the one that is not meant',
      );
    seen.add(name);
  }
}
