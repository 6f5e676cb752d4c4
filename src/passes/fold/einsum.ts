import { stringAttribute } from '../../graph/attribute.ts';
import { makeNode } from '../../graph/build.ts';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { initializers, isOp, layerName } from '../../graph/query.ts';
import { dimsOf, elementCount, floatData, makeTensor, typeOf } from '../../graph/tensor.ts';
import { rowView, toRows } from '../../numerics/rows.ts';
import type { Note } from '../pass.ts';
import { foldPass } from './each.ts';

/**
 * An Einsum of a value with a constant matrix that is a linear layer becomes the MatMul that it is
 * (https://onnx.ai/onnx/operators/onnx__Einsum.html): `btd,de->bte`, `...d,ed->...e`, with several axes where they stand together, as
 * in projections to heads and back (`btd,dhk->bthk`, `bthk,hkd->btd`). onnxruntime computes it the same way.
 */
export const foldEinsum = foldPass({
  name: 'fold/einsum',
  classes: ['FoldEinsum'],
  summary: 'turns Einsum with a constant matrix into MatMul',
  apply: (model) => Promise.resolve(apply(model)),
});

function apply(model: Model): { model: Model; changed: Note[]; skipped: Note[] } {
  const tensors = initializers(model.graph);
  const [changed, skipped]: [Note[], Note[]] = [[], []];
  const result = edit(model, (draft) => {
    for (const node of model.graph.node) {
      if (!isOp(node, 'Einsum') || node.input.length !== 2) continue;
      const side = tensors.has(node.input[1] ?? '') ? 1 : 0;
      const tensor = tensors.get(node.input[side] ?? '');
      const x = node.input[1 - side] ?? '';
      if (!tensor || tensors.has(x) || typeOf(tensor) !== 'float32') continue;
      const layer = layerName(node);
      const plan = linearPlan(node, side);
      if (typeof plan === 'string') {
        skipped.push({ layer, text: plan });
        continue;
      }
      const dims = dimsOf(tensor);
      // All axes make the rows: what is left is their order.
      const view = rowView(dims, [...plan.summed, ...plan.made]);
      const length = (axes: readonly number[]): number[] => axes.map((d) => dims[d] ?? 1);
      const [inner, outer] = [elementCount(length(plan.summed)), elementCount(length(plan.made))];
      const weight = draft.add(
        view.plain && dims.length === 2 ? tensor.name : `${tensor.name}_matrix`,
        makeTensor('weight', 'float32', [inner, outer], toRows(floatData(tensor), view)),
      );
      const reshape = (from: string, axes: readonly number[], to: string): string => {
        // 0 keeps an axis as it is.
        const shape = [...Array<number>(plan.batch).fill(0), ...axes];
        const vector = makeTensor('shape', 'int64', [shape.length], BigInt64Array.from(shape, BigInt));
        draft.addNode(makeNode('Reshape', [from, draft.add(`${to}_shape`, vector)], [to]));
        return to;
      };
      const [y = ''] = node.output;
      draft.removeNode(node);
      const input = plan.summed.length > 1 ? reshape(x, [inner], draft.freshName(`${y}_flat`)) : x;
      const product = plan.made.length > 1 ? draft.freshName(`${y}_product`) : y;
      draft.addNode(makeNode('MatMul', [input, weight], [product], {}, { name: layer }));
      if (plan.made.length > 1) reshape(product, length(plan.made), y);
      changed.push({ layer, text: `Einsum ${stringAttribute(node, 'equation', '')} became the MatMul it is` });
    }
  });
  return { model: changed.length > 0 ? result : model, changed, skipped };
}

interface Linear {
  /** Axes of the constant that are summed over and that the output gets, in the order of the value's and the output's axes. */
  readonly summed: readonly number[];
  readonly made: readonly number[];
  /** Leading axes that the layer leaves alone; -1 where an ellipsis stands for them. */
  readonly batch: number;
}

/** How an equation is x[…, K] · W[K, N], or in words why it is not. */
function linearPlan(node: NodeProto, side: number): Linear | string {
  const equation = stringAttribute(node, 'equation', '').replace(/\s/g, '');
  const no = `Einsum ${equation} is no product of the last axes with a matrix`;
  const [left = '', output] = equation.split('->');
  const terms = left.split(',');
  const [w = '', x = ''] = [terms[side], terms[1 - side]];
  if (
    output === undefined ||
    w.includes('.') ||
    new Set(w).size < w.length ||
    new Set(x).size < x.replace('...', '.').length
  )
    return no;
  const summed = [...x].filter((c) => w.includes(c) && !output.includes(c));
  const made = [...output].filter((c) => w.includes(c) && !x.includes(c));
  const batch = x.slice(0, x.length - summed.length);
  const plain =
    summed.length > 0 &&
    made.length > 0 &&
    summed.length + made.length === w.length &&
    x === batch + summed.join('') &&
    output === batch + made.join('');
  if (!plain) return no;
  // A Reshape must know how many axes it keeps.
  if (batch.includes('.') && (summed.length > 1 || made.length > 1)) return no;
  const axes = (letters: readonly string[]): number[] => letters.map((c) => w.indexOf(c));
  return { summed: axes(summed), made: axes(made), batch: batch.length };
}
