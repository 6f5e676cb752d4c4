import { attribute, intAttribute } from '../attribute.ts';
import { toNumber } from '../proto.ts';
import { pick, range, spread, type Axis, type Cut, type Flow, type Rule } from './flow.ts';

/** Channel i of every one of `groups` equal parts goes together: a grouped convolution keeps its parts equal. */
function tieParts(flow: Flow, axis: Axis, groups: number): void {
  if (axis === undefined) return;
  const size = axis.length / groups;
  for (let i = size; i < axis.length; i++) flow.tie(axis, i % size, i);
}

/** Output atoms with the bias of the third input joined to them. */
function withBias(flow: Flow, out: Axis): Axis {
  if (flow.dims(2)) {
    flow.join(out, flow.axes(2)[0]);
    flow.member(2, 0, 'bias');
  }
  return out;
}

/** A depthwise convolution has as many groups as channels. */
function mendGroups(cut: Cut): void {
  const x = cut.node.input[0]!;
  const groups = intAttribute(cut.node, 'group', 1);
  const channels = cut.newDims(x)[1]!;
  if (groups > 1 && groups === cut.oldDims(x)[1] && channels !== groups)
    cut.draft.setAttribute(cut.node, 'group', channels);
}

/** x [N, C, …], weight [M, C/group, …] → [N, M, …] (https://onnx.ai/onnx/operators/onnx__Conv.html). */
export const conv: Rule = {
  flow(flow) {
    const [x, w] = [flow.dims(0), flow.dims(1)];
    if (!x || !w) return flow.freezeAll('its shapes are not known');
    const [xs, ws] = [flow.axes(0), flow.axes(1)];
    const [channels, outs] = [x[1]!, w[0]!];
    const groups = intAttribute(flow.node, 'group', 1);
    let out = ws[0];
    if (groups > 1 && groups === channels) {
      const multiple = outs / groups;
      const carried = spread(xs[1], outs, (i) => Math.floor(i / multiple));
      flow.join(carried, ws[0]);
      out = carried;
      flow.member(1, 0, 'through');
    } else {
      if (groups > 1) {
        tieParts(flow, xs[1], groups);
        tieParts(flow, ws[0], groups);
      }
      flow.join(pick(xs[1], range(0, channels / groups)), ws[1]);
      flow.site({ input: 0, axis: 1 }, { input: 1, axis: 1 });
      flow.member(1, 0, 'out');
      flow.member(1, 1, 'in');
    }
    flow.set(0, [xs[0], withBias(flow, out), ...x.slice(2).map(() => undefined)]);
  },
  fix: mendGroups,
};

/** x [N, C, …], weight [C, M/group, …] → [N, M, …] (https://onnx.ai/onnx/operators/onnx__ConvTranspose.html). */
export const convTranspose: Rule = {
  flow(flow) {
    const [x, w] = [flow.dims(0), flow.dims(1)];
    if (!x || !w) return flow.freezeAll('its shapes are not known');
    const [xs, ws] = [flow.axes(0), flow.axes(1)];
    const [channels, outs] = [x[1]!, w[1]!];
    const groups = intAttribute(flow.node, 'group', 1);
    flow.join(xs[1], ws[0]);
    let out = ws[1];
    if (groups > 1 && groups === channels) {
      out = spread(xs[1], outs * groups, (i) => Math.floor(i / outs));
      flow.member(1, 0, 'through');
    } else {
      if (groups > 1) {
        tieParts(flow, xs[1], groups);
        out = spread(ws[1], outs * groups, (i) => i % outs);
      }
      flow.site({ input: 0, axis: 1 }, { input: 1, axis: 0 });
      flow.member(1, 1, 'out');
      flow.member(1, 0, 'in');
    }
    flow.set(0, [xs[0], withBias(flow, out), ...x.slice(2).map(() => undefined)]);
  },
  fix: mendGroups,
};

/** Scale and bias, of BatchNormalization mean and variance too, stand one a channel (axis 1). */
export const batchNorm: Rule = {
  flow(flow) {
    const xs = flow.axes(0);
    const spatial = attribute(flow.node, 'spatial');
    if (spatial && toNumber(spatial.i) === 0) return flow.freezeAll('BatchNormalization with spatial=0');
    for (const input of range(1, flow.node.input.length)) {
      if (!flow.dims(input)) continue;
      flow.join(xs[1], flow.axes(input)[0]);
      // Scale, bias, mean, variance: what is added makes a channel of zeros something else.
      flow.member(input, 0, input === 2 || input === 3 ? 'bias' : 'through');
    }
    flow.set(0, xs);
  },
};

/** Pooling and what else works on each channel by itself: [N, C, …] → [N, C, …]. */
export const perChannel: Rule = {
  flow(flow) {
    const xs = flow.axes(0);
    const rank = flow.outDims(0)?.length ?? xs.length;
    if (flow.node.output[1]) return flow.freezeAll(`${flow.node.op_type} also gives indices`);
    flow.set(0, [xs[0], xs[1], ...range(0, Math.max(0, rank - 2)).map(() => undefined)]);
  },
};

/** The input size of recurrent weights can shrink, their hidden size (gates, state, both directions) is left alone. */
export const recurrent: Rule = {
  flow(flow) {
    const [xs, ws] = [flow.axes(0), flow.axes(1)];
    flow.join(xs[2], ws[2]);
    flow.site({ input: 0, axis: 2 }, { input: 1, axis: 2 });
    flow.member(1, 2, 'in');
    flow.member(1, 1, 'out');
    const why = `hidden units of ${flow.node.op_type} are not cut`;
    flow.freeze(ws[1], why);
    for (let i = 2; i < flow.node.input.length; i++) flow.axes(i).forEach((axis) => flow.freeze(axis, why));
  },
};
