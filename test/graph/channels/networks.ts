import fc from '../../helpers/fc.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { AttributeValue } from '../../../src/graph/attribute.ts';
import type { Model } from '../../../src/graph/model.ts';
import type { NodeProto, TensorProto } from '../../../src/graph/proto.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { noise, weight } from '../../helpers/models.ts';

/** A value under construction: its name and shape without the batch. */
interface At {
  readonly name: string;
  readonly dims: readonly number[];
}

/** Grows a network layer by layer; every layer's weights come from one seed. */
export function builder(seed: number, input: readonly number[]) {
  const nodes: NodeProto[] = [];
  const initializers: TensorProto[] = [];
  let count = 0;
  const op = (
    type: string,
    inputs: readonly string[],
    dims: readonly number[],
    attributes: Record<string, AttributeValue> = {},
    name = `${type}${count++}`,
  ): At => {
    nodes.push(makeNode(type, inputs, [name], attributes, { name }));
    return { name, dims };
  };
  const stored = (dims: readonly number[], scale = 0.4, offset = 0): string => {
    const name = `w${initializers.length}`;
    const tensor = weight(name, dims, seed + initializers.length, scale);
    const data = noise(
      seed + initializers.length,
      dims.reduce((a, b) => a * b, 1),
      scale,
    );
    initializers.push(
      offset === 0
        ? tensor
        : makeTensor(
            name,
            'float32',
            dims,
            data.map((v) => Math.abs(v) + offset),
          ),
    );
    return name;
  };
  const numbers = (values: readonly number[], dims: readonly number[] = [values.length]): string => {
    const name = `i${initializers.length}`;
    initializers.push(makeTensor(name, 'int64', dims, BigInt64Array.from(values, BigInt)));
    return name;
  };
  const c = (x: At): number => x.dims[0] as number;
  const space = (x: At): readonly number[] => x.dims.slice(1);
  const conv = (x: At, out: number, options: { k?: number; group?: number; name?: string } = {}): At => {
    const { k = 3, group = 1, name } = options;
    const p = (k - 1) / 2;
    const inputs = [x.name, stored([out, c(x) / group, k, k]), stored([out])];
    return op('Conv', inputs, [out, ...space(x)], { kernel_shape: [k, k], pads: [p, p, p, p], group }, name);
  };
  const unary = (type: string, x: At): At => op(type, [x.name], x.dims);
  const add = (a: At, b: At): At => op('Add', [a.name, b.name], a.dims);
  const split = (x: At, sizes: readonly [number, number]): [At, At] => {
    const outputs = [`${x.name}_left`, `${x.name}_right`] as const;
    nodes.push(makeNode('Split', [x.name, numbers(sizes)], outputs, { axis: 1 }));
    return [
      { name: outputs[0], dims: [sizes[0], ...space(x)] },
      { name: outputs[1], dims: [sizes[1], ...space(x)] },
    ];
  };
  const model = (y: At, opset = 14): Model =>
    makeModel({
      opset,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', ...input])],
      outputs: [makeValue(y.name, 'float32', ['N', ...y.dims])],
      nodes,
      initializers,
    });
  return { x: { name: 'x', dims: input } as At, op, stored, numbers, conv, unary, add, split, model, c, space };
}

type Builder = ReturnType<typeof builder>;

/** Ways to continue from a feature map [C, H, W] with C divisible by 4. */
const blocks: Record<string, (b: Builder, x: At, width: number) => At> = {
  conv: (b, x, width) => b.unary('Relu', b.conv(x, width)),
  batchNorm: (b, x, width) => {
    const y = b.conv(x, width, { k: 1 });
    const inputs = [y.name, b.stored([width]), b.stored([width]), b.stored([width]), b.stored([width], 0.2, 0.5)];
    return b.unary('LeakyRelu', b.op('BatchNormalization', inputs, y.dims));
  },
  residual: (b, x, width) => {
    const inner = b.unary('Relu', b.conv(x, width));
    return b.unary('Relu', b.add(b.conv(inner, b.c(x)), x));
  },
  paddedShortcut: (b, x) => {
    const out = b.c(x) * 2;
    const pads = b.numbers([0, b.c(x) / 2, 0, 0, 0, b.c(x) / 2, 0, 0]);
    const shortcut = b.op('Pad', [x.name, pads], [out, ...b.space(x)]);
    return b.add(b.conv(x, out), shortcut);
  },
  concat: (b, x, width) => {
    const parts = [b.conv(x, width), x, b.unary('Tanh', b.conv(x, 4, { k: 1 }))];
    const total = parts.reduce((sum, part) => sum + b.c(part), 0);
    return b.op(
      'Concat',
      parts.map((part) => part.name),
      [total, ...b.space(x)],
      { axis: 1 },
    );
  },
  depthwise: (b, x) => b.unary('HardSwish', b.conv(x, b.c(x), { group: b.c(x) })),
  depthwiseMultiplied: (b, x) => b.conv(x, b.c(x) * 2, { group: b.c(x) }),
  grouped: (b, x, width) => b.conv(x, width, { group: 4 }),
  transposed: (b, x, width) => {
    const inputs = [x.name, b.stored([b.c(x), width, 2, 2]), b.stored([width])];
    const [h = 1, w = 1] = b.space(x);
    const y = b.op('ConvTranspose', inputs, [width, h + 1, w + 1], { kernel_shape: [2, 2] });
    return b.op('MaxPool', [y.name], [width, h, w], { kernel_shape: [2, 2] });
  },
  split: (b, x) => {
    const y = b.conv(x, b.c(x));
    const [left, right] = b.split(y, [2, b.c(x) - 2]);
    return b.op('Concat', [right.name, left.name], y.dims, { axis: 1 });
  },
  slice: (b, x) => {
    const y = b.conv(x, b.c(x) + 4);
    return b.op('Slice', [y.name, b.numbers([2]), b.numbers([-2]), b.numbers([1])], x.dims);
  },
  gather: (b, x) => {
    const order = Array.from({ length: b.c(x) }, (_, i) => (i * 3 + 1) % b.c(x));
    return b.op('Gather', [b.conv(x, b.c(x)).name, b.numbers(order)], x.dims, { axis: 1 });
  },
  shuffle: (b, x) => {
    const [n, [h = 1, w = 1]] = [b.c(x), b.space(x)];
    const y = b.conv(x, n);
    const parts = b.op('Reshape', [y.name, b.numbers([0, 2, n / 2, h, w])], [2, n / 2, h, w]);
    const swapped = b.op('Transpose', [parts.name], [n / 2, 2, h, w], { perm: [0, 2, 1, 3, 4] });
    return b.op('Reshape', [swapped.name, b.numbers([-1, n, h, w])], x.dims);
  },
  slope: (b, x) => b.op('PRelu', [b.conv(x, b.c(x)).name, b.stored([b.c(x), 1, 1])], x.dims),
  excitation: (b, x, width) => {
    const pooled = b.op('GlobalAveragePool', [x.name], [b.c(x), 1, 1]);
    const inner = b.unary('Relu', b.conv(pooled, width, { k: 1 }));
    const gate = b.unary('Sigmoid', b.conv(inner, b.c(x), { k: 1 }));
    return b.op('Mul', [x.name, gate.name], x.dims);
  },
  pixelShuffle: (b, x, width) => {
    const y = b.conv(x, width * 4, { k: 1 });
    const [h = 1, w = 1] = b.space(x);
    const big = b.op('DepthToSpace', [y.name], [width, h * 2, w * 2], { blocksize: 2 });
    return b.op('AveragePool', [big.name], [width, h, w], { kernel_shape: [2, 2], strides: [2, 2] });
  },
};

/** Ways to end in a vector of 5. */
const tails: Record<string, (b: Builder, x: At) => At> = {
  pooled: (b, x) => {
    const pooled = b.op('GlobalAveragePool', [x.name], [b.c(x), 1, 1]);
    const flat = b.op('Flatten', [pooled.name], [b.c(x)], { axis: 1 });
    return b.op('Gemm', [flat.name, b.stored([5, b.c(x)]), b.stored([5])], [5], { transB: 1 });
  },
  flattened: (b, x) => {
    const total = x.dims.reduce((p, q) => p * q, 1);
    const flat = b.op('Flatten', [x.name], [total], { axis: 1 });
    const hidden = b.unary('Relu', b.op('Gemm', [flat.name, b.stored([total, 12]), b.stored([12])], [12]));
    return b.op('Gemm', [hidden.name, b.stored([5, 12]), b.stored([5])], [5], { transB: 1 });
  },
  reshaped: (b, x) => {
    const total = x.dims.reduce((p, q) => p * q, 1);
    const flat = b.op('Reshape', [x.name, b.numbers([-1, total])], [total]);
    const product = b.op('MatMul', [flat.name, b.stored([total, 5])], [5]);
    return b.op('Add', [product.name, b.stored([1, 5])], [5]);
  },
  attention: (b, x) => {
    const [n, [h = 1, w = 1]] = [b.c(x), b.space(x)];
    const [heads, depth, time] = [2, 4, h * w];
    const rows = b.op('Reshape', [x.name, b.numbers([0, n, time])], [n, time]);
    const tokens = b.op('Transpose', [rows.name], [time, n], { perm: [0, 2, 1] });
    const project = (perm: number[], dims: number[]): At => {
      const product = b.op('MatMul', [tokens.name, b.stored([n, heads * depth])], [time, heads * depth]);
      const biased = b.op('Add', [product.name, b.stored([heads * depth])], product.dims);
      const split = b.op('Reshape', [biased.name, b.numbers([0, 0, heads, depth])], [time, heads, depth]);
      return b.op('Transpose', [split.name], dims, { perm });
    };
    const q = project([0, 2, 1, 3], [heads, time, depth]);
    const k = project([0, 2, 3, 1], [heads, depth, time]);
    const v = project([0, 2, 1, 3], [heads, time, depth]);
    const scores = b.op('Softmax', [b.op('MatMul', [q.name, k.name], [heads, time, time]).name], [heads, time, time], {
      axis: -1,
    });
    const mixed = b.op('MatMul', [scores.name, v.name], [heads, time, depth]);
    const back = b.op('Transpose', [mixed.name], [time, heads, depth], { perm: [0, 2, 1, 3] });
    const merged = b.op('Reshape', [back.name, b.numbers([0, 0, heads * depth])], [time, heads * depth]);
    const out = b.op('MatMul', [merged.name, b.stored([heads * depth, 5])], [time, 5]);
    return b.op('ReduceMean', [out.name], [5], { axes: [1], keepdims: 0 });
  },
};

export interface Recipe {
  readonly seed: number;
  readonly blocks: readonly { readonly kind: string; readonly width: number }[];
  readonly tail: string;
}

/** Networks of up to five blocks, all kinds of connections among them. */
export const recipes = fc.record({
  seed: fc.integer({ min: 1, max: 100000 }),
  blocks: fc.array(fc.record({ kind: fc.constantFrom(...Object.keys(blocks)), width: fc.constantFrom(4, 8) }), {
    minLength: 1,
    maxLength: 5,
  }),
  tail: fc.constantFrom(...Object.keys(tails)),
});

export const blockKinds = Object.keys(blocks);
export const tailKinds = Object.keys(tails);

/** The network of a recipe: input [N, 3, 4, 4], a first convolution, the blocks, the tail. */
export function network(recipe: Recipe): Model {
  const b = builder(recipe.seed, [3, 4, 4]);
  let x = b.unary('Relu', b.conv(b.x, 8));
  for (const { kind, width } of recipe.blocks) x = (blocks[kind] as (typeof blocks)[string])(b, x, width);
  return b.model((tails[recipe.tail] as (typeof tails)[string])(b, x));
}
