// The networks that training.mjs measures, made with random weights: small, of fixed batch size, without anything to be folded.
import { makeModel, makeNode, makeValue } from '../dist/graph/build.js';
import { makeTensor } from '../dist/graph/tensor.js';

/** Numbers from −1 to 1 by a fixed seed. */
export function noise(seed, count) {
  let state = seed * 2654435761 + 1;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** Writes a net node by node; each method returns the name of its result. */
function writer() {
  const [nodes, initializers, trainable] = [[], [], []];
  const size = (dims) => dims.reduce((a, b) => a * b, 1);
  const op = (type, inputs, attributes = {}) => {
    const name = `${type}_${nodes.length}`;
    nodes.push(makeNode(type, inputs, [name], attributes));
    return name;
  };
  const tensor = (type, dims, data) => {
    const name = `constant_${initializers.length}`;
    initializers.push(makeTensor(name, type, dims, data));
    return name;
  };
  /** Uniform, with the variance of He's initialization for so many inputs. */
  const weight = (dims, inputs) => {
    const bound = Math.sqrt(6 / inputs);
    const name = tensor('float32', dims, noise(initializers.length + 1, size(dims)).map((v) => v * bound)); // prettier-ignore
    trainable.push(name);
    return name;
  };
  const filled = (dims, value, trained = true) => {
    const name = tensor('float32', dims, new Float32Array(size(dims)).fill(value));
    if (trained) trainable.push(name);
    return name;
  };
  return {
    nodes, initializers, trainable, op, weight, filled,
    ints: (...list) => tensor('int64', [list.length], BigInt64Array.from(list, BigInt)),
    scalar: (value) => filled([], value, false),
    conv(x, [m, c, k], { stride = 1, pad = (k - 1) / 2, group = 1, bias = true } = {}) {
      const w = weight([m, c / group, k, k], (c / group) * k * k);
      const attributes = { kernel_shape: [k, k], strides: [stride, stride], pads: [pad, pad, pad, pad], group };
      return op('Conv', bias ? [x, w, filled([m], 0)] : [x, w], attributes);
    },
    norm: (x, m) => op('BatchNormalization', [x, filled([m], 1), filled([m], 0), filled([m], 0, false), filled([m], 1, false)]),
    dense: (x, m, c) => op('Gemm', [x, weight([m, c], c), filled([m], 0)], { transB: 1 }),
  }; // prettier-ignore
}

const finish = (w, x, inputDims, inputType = 'float32', limit = 0) => ({
  model: makeModel({
    opset: 20,
    inputs: [makeValue('x', inputType, inputDims)],
    outputs: [makeValue(x, 'float32')],
    initializers: w.initializers,
    nodes: w.nodes,
  }),
  trainable: w.trainable,
  /** Token numbers below this, or 0 for numbers. */
  limit,
});

function lenet5(batch) {
  const w = writer();
  const pool = (x) => w.op('MaxPool', [x], { kernel_shape: [2, 2], strides: [2, 2] });
  let x = pool(w.conv('x', [20, 1, 5], { pad: 0 }));
  x = pool(w.conv(x, [50, 20, 5], { pad: 0 }));
  x = w.op('Relu', [w.dense(w.op('Flatten', [x]), 500, 800)]);
  return finish(w, w.dense(x, 10, 500), [batch, 1, 28, 28]);
}

/** Embeddings, blocks of attention and of a two-layer net with Gelu, each behind a LayerNormalization; the mean is classified. */
function transformer(batch, { blocks = 2, width = 128, length = 64, heads = 4, words = 64 } = {}) {
  const w = writer();
  const split = w.ints(batch, length, heads, width / heads);
  const whole = w.ints(batch, length, width);
  const root = w.scalar(Math.sqrt(width / heads));
  const linear = (x, from, to) => w.op('Add', [w.op('MatMul', [x, w.weight([from, to], 3 * from)]), w.filled([to], 0)]);
  const normed = (x) => w.op('LayerNormalization', [x, w.filled([width], 1), w.filled([width], 0)]);
  let x = w.op('Add', [w.op('Gather', [w.weight([words, width], 6), 'x']), w.weight([length, width], 6)]);
  for (let i = 0; i < blocks; i++) {
    const h = normed(x);
    const head = (perm) => w.op('Transpose', [w.op('Reshape', [linear(h, width, width), split])], { perm });
    const [q, k, v] = [[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]].map(head); // prettier-ignore
    const weights = w.op('Softmax', [w.op('Div', [w.op('MatMul', [q, k]), root])], { axis: -1 });
    const mixed = w.op('Transpose', [w.op('MatMul', [weights, v])], { perm: [0, 2, 1, 3] });
    x = w.op('Add', [x, linear(w.op('Reshape', [mixed, whole]), width, width)]);
    x = w.op('Add', [x, linear(w.op('Gelu', [linear(normed(x), width, 4 * width)]), 4 * width, width)]);
  }
  const middle = w.op('ReduceMean', [normed(x), w.ints(1)], { keepdims: 0 });
  return finish(w, w.dense(middle, 10, width), [batch, length], 'int64', words);
}

/** Depthwise and pointwise convolutions, each with BatchNormalization and Clip: 11 in all. */
function depthwise(batch) {
  const w = writer();
  const [low, high] = [w.scalar(0), w.scalar(6)];
  const after = (x, m) => w.op('Clip', [w.norm(x, m), low, high]);
  let x = after(w.conv('x', [32, 3, 3], { bias: false }), 32);
  for (const [from, to, stride] of [[32, 64, 1], [64, 128, 2], [128, 128, 1], [128, 256, 2], [256, 256, 1]]) {
    x = after(w.conv(x, [from, from, 3], { stride, group: from, bias: false }), from);
    x = after(w.conv(x, [to, from, 1], { bias: false }), to);
  } // prettier-ignore
  return finish(w, w.dense(w.op('Flatten', [w.op('GlobalAveragePool', [x])]), 10, 256), [batch, 3, 32, 32]);
}

/** He et al. 2016, section 4.2, shortcuts by slicing and zeros; `depth` blocks a stage: 3 of ResNet-20, 9 of ResNet-56. */
function resnet(batch, depth, normed) {
  const w = writer();
  const conv = (x, m, c, stride = 1) => {
    const y = w.conv(x, [m, c, 3], { stride, bias: !normed });
    return normed ? w.norm(y, m) : y;
  };
  let x = w.op('Relu', [conv('x', 16, 3)]);
  let c = 16;
  for (const m of [16, 32, 64])
    for (let i = 0; i < depth; i++) {
      const stride = m === c ? 1 : 2;
      const y = conv(w.op('Relu', [conv(x, m, c, stride)]), m, m);
      if (stride === 2) {
        const thin = w.op('Slice', [x, w.ints(0, 0), w.ints(99, 99), w.ints(2, 3), w.ints(2, 2)]);
        const pads = w.ints(0, (m - c) / 2, 0, 0, 0, (m - c) / 2, 0, 0);
        x = w.op('Pad', [thin, pads]);
      }
      x = w.op('Relu', [w.op('Add', [y, x])]);
      c = m;
    }
  return finish(w, w.dense(w.op('Flatten', [w.op('GlobalAveragePool', [x])]), 10, 64), [batch, 3, 32, 32]);
}

/** Name → what makes it, and the largest ratio to PyTorch that is aimed at. */
export const nets = {
  'LeNet-5, 64': { make: () => lenet5(64), target: 1.0 },
  'transformer, 32': { make: () => transformer(32), target: 1.1 },
  'depthwise + BN, 64': { make: () => depthwise(64), target: 1.1 },
  'ResNet-20 + BN, 64': { make: () => resnet(64, 3, true), target: 1.3 },
  'ResNet-20 folded, 64': { make: () => resnet(64, 3, false), target: 1.4 },
};

/** The one whose making is timed. */
export const largest = { name: 'ResNet-56 folded, 16', make: () => resnet(16, 9, false) };
