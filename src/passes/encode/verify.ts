import { makeModel, makeValue } from '../../graph/build.ts';
import { tensorData } from '../../graph/tensor.ts';
import type { PassContext } from '../pass.ts';
import type { Part } from './store.ts';
import type { Target } from './targets.ts';

/**
 * Runs the decoder of some tensors in onnxruntime, alone, and compares bit for bit.
 * @param parts all that the decoder consists of, with what it shares with others.
 * @returns the name of the first tensor that comes out otherwise.
 */
export async function differing(
  members: readonly Pick<Target, 'tensor' | 'source'>[],
  parts: readonly Part[],
  opset: number,
  ctx: Pick<PassContext, 'compute'>,
): Promise<string | undefined> {
  const decoder = makeModel({
    inputs: [],
    outputs: members.map(({ tensor, source }) => makeValue(tensor.name, source.type, source.dims)),
    nodes: parts.flatMap(({ nodes }) => nodes),
    initializers: parts.flatMap(({ tensors }) => tensors.map((make) => make())),
    opset,
  });
  const made = await ctx.compute(decoder, {});
  const wrong = members.find(({ tensor }) => {
    const data = made[tensor.name]?.data;
    return !ArrayBuffer.isView(data) || Buffer.compare(bytesOf(tensorData(tensor)), bytesOf(data)) !== 0;
  });
  return wrong?.tensor.name;
}

const bytesOf = (view: ArrayBufferView): Buffer => Buffer.from(view.buffer, view.byteOffset, view.byteLength);
