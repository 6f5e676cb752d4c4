import {
  channelGroups,
  leaveOne,
  removableChannels,
  removeChannels,
  type Channels,
} from '../../../src/graph/channels.ts';
import { maskChannels } from '../../helpers/mask_channels.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { dimsOf, makeTensor, tensorNumbers } from '../../../src/graph/tensor.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';
import { builder, network } from './networks.ts';

const feeds = { x: floats(noise(9, 2 * 48), [2, 3, 4, 4]) };
const trace = async (model: Model, given = feeds): Promise<Channels> =>
  channelGroups(model, await testContext({ calibration: [given] }).shapes(model));
const dims = (model: Model, name: string) => dimsOf(initializers(model.graph).get(name) as never);

describe('channelGroups', () => {
  it('puts a residual addition, its depthwise follower and the next rows into one group', async () => {
    const channels = await trace(smallConvNet(), { x: floats(noise(9, 2 * 192), [2, 3, 8, 8]) });
    expect(channels.groups).toEqual([{ id: 0, atoms: [0, 1, 2, 3, 4, 5, 6, 7], layers: ['conv1', 'conv2'] }]);
    expect(channels.frozen).toEqual([{ layer: 'fc', text: 'cannot be cut: graph output "y"' }]);
    expect(channels.axes.get('fc.weight')).toEqual([undefined, Int32Array.of(0, 1, 2, 3, 4, 5, 6, 7)]);
    expect(channels.axes.get('dw.weight')?.[0]).toEqual(Int32Array.of(0, 1, 2, 3, 4, 5, 6, 7));
    const roles = channels.members.filter((m) => m.layer === 'dw').map((m) => [m.tensor, m.role]);
    expect(roles).toEqual([
      ['dw.weight', 'through'],
      ['dw.bias', 'bias'],
    ]);
  });

  it('maps channel c of a padded shortcut to c + offset, and cuts the padding', async () => {
    const model = network({ seed: 1, blocks: [{ kind: 'paddedShortcut', width: 8 }], tail: 'pooled' });
    const channels = await trace(model);
    // 8 channels before, 16 after: 4 of zeros, the 8, 4 of zeros.
    expect(channels.groups.map((group) => group.atoms.length)).toEqual([16]);
    const before = channels.axes.get('Relu1')?.[1] as Int32Array;
    const after = channels.axes.get('Add4')?.[1] as Int32Array;
    expect(after.slice(4, 12)).toEqual(before);
    const cut = removeChannels(model, channels, new Set([after[0] as number, after[1] as number, before[2] as number]));
    const pad = cut.graph.node.find((node) => node.op_type === 'Pad');
    const pads = initializers(cut.graph).get(pad?.input[1] as string) as never;
    expect(tensorNumbers(pads)).toEqual([0, 2, 0, 0, 0, 4, 0, 0]);
  });

  it('offsets the branches of a Concat and spreads a channel over a Flatten', async () => {
    const model = network({ seed: 1, blocks: [{ kind: 'concat', width: 4 }], tail: 'flattened' });
    const channels = await trace(model);
    expect(channels.groups.map((group) => group.atoms.length)).toEqual([8, 4, 4, 12]);
    const flat = channels.axes.get('Flatten6')?.[1] as Int32Array;
    expect(flat).toHaveLength(16 * 16);
    const branch = channels.axes.get('Conv2')?.[1] as Int32Array;
    expect(flat.slice(0, 16)).toEqual(new Int32Array(16).fill(branch[0] as number));
    const shortcut = channels.axes.get('Relu1')?.[1] as Int32Array;
    expect(flat.slice(64, 80)).toEqual(new Int32Array(16).fill(shortcut[0] as number));
  });

  it('keeps the parts of a grouped convolution equal', async () => {
    const model = network({ seed: 1, blocks: [{ kind: 'grouped', width: 8 }], tail: 'pooled' });
    const channels = await trace(model);
    // 8 outputs in 4 parts of 2, 8 inputs in 4 parts of 2.
    expect(channels.groups.map((group) => group.atoms.length)).toEqual([2, 2]);
    const cut = removeChannels(model, channels, new Set([0, 2]));
    expect([dims(cut, 'w0'), dims(cut, 'w2')]).toEqual([
      [4, 3, 3, 3],
      [4, 1, 3, 3],
    ]);
  });

  it('cuts whole heads of attention', async () => {
    const model = network({ seed: 1, blocks: [], tail: 'attention' });
    const channels = await trace(model);
    const heads = channels.groups.find((group) => group.layers.length === 3);
    expect(heads?.atoms).toHaveLength(2);
    const cut = removeChannels(model, channels, new Set([heads?.atoms[1] as number]));
    expect(Object.values(await runModel(cut, feeds))[0]?.dims).toEqual([2, 5]);
    expect(cut.graph.initializer.filter((t) => String(dimsOf(t)) === '8,4')).toHaveLength(3);
  });

  it('says why a layer cannot be cut', async () => {
    const b = builder(1, [3, 4, 4]);
    const y = b.conv(b.x, 4, { name: 'lrn' });
    const normed = b.op('LRN', [y.name], y.dims, { size: 3 });
    const z = b.conv(normed, 4, { name: 'odd' });
    const odd = b.op('CumSum', [z.name, b.numbers([2], [])], z.dims);
    const single = b.conv(odd, 1, { name: 'single' });
    const shape = b.op('Shape', [b.conv(b.x, 6, { name: 'sized' }).name], [4]);
    const size = b.op('Gather', [shape.name, b.numbers([1], [])], []);
    const scale = b.op('Cast', [size.name], [], { to: 1 });
    const model = b.model(b.op('Mul', [single.name, scale.name], single.dims));
    const { frozen } = await trace(model);
    expect(frozen).toEqual([
      { layer: 'lrn', text: 'cannot be cut: LRN runs over it' },
      { layer: 'odd', text: 'cannot be cut: CumSum is not followed' },
      { layer: 'single', text: 'cannot be cut: it has one channel' },
      { layer: 'sized', text: 'cannot be cut: shape arithmetic depends on it' },
    ]);
  });
});

describe('removeChannels', () => {
  it('refuses to empty an axis, and leaveOne keeps the strongest', async () => {
    const model = smallConvNet();
    const channels = await trace(model, { x: floats(noise(9, 2 * 192), [2, 3, 8, 8]) });
    const all = channels.groups[0]?.atoms ?? [];
    expect(() => removeChannels(model, channels, new Set(all))).toThrow('every channel of this axis would be cut');
    expect([...leaveOne(channels, [3, 0, 1, 2, 4, 6, 7, 5])]).not.toContain(5);
    const cut = removeChannels(model, channels, leaveOne(channels, all));
    expect([
      dims(cut, 'conv1.weight'),
      dims(cut, 'conv2.weight'),
      dims(cut, 'dw.weight'),
      dims(cut, 'fc.weight'),
    ]).toEqual([
      [1, 3, 3, 3],
      [1, 1, 3, 3],
      [1, 1, 3, 3],
      [5, 1],
    ]);
  });

  it('keeps sizes that the graph computes and mends the constants beside them', async () => {
    // [N, 8, 4, 4] → [N, 8·16] by a vector [Shape(x)[0], 128].
    const b = builder(4, [3, 4, 4]);
    const y = b.conv(b.x, 8);
    const shape = b.op('Shape', [y.name], [4]);
    const batch = b.op('Gather', [shape.name, b.numbers([0])], [1]);
    const target = b.op('Concat', [batch.name, b.numbers([128])], [2], { axis: 0 });
    const flat = b.op('Reshape', [y.name, target.name], [128]);
    const model = b.model(b.op('MatMul', [flat.name, b.stored([128, 5])], [5]));
    const channels = await trace(model);
    const masked = maskChannels(model, channels, new Set([1, 2]));
    const cut = removeChannels(masked, channels, new Set([1, 2]));
    for (const n of [1, 5]) {
      const x = { x: floats(noise(n, n * 48), [n, 3, 4, 4]) };
      const [before, after] = [await runModel(masked, x), await runModel(cut, x)];
      // Only terms that are zero are left out of the sums.
      expect(difference(before, after)).toBeLessThan(1e-6);
    }
  });

  it('mends Expand shapes and the Slice attributes of an old opset', async () => {
    const model = makeModel({
      opset: 9,
      ir: 4,
      inputs: [makeValue('x', 'float32', ['N', 3, 4, 4])],
      outputs: [makeValue('y', 'float32', ['N', 2, 4, 4])],
      initializers: [
        weight('w', [6, 3, 1, 1], 1),
        weight('v', [2, 4, 1, 1], 2),
        makeTensor('shape', 'int64', [4], BigInt64Array.of(1n, 6n, 1n, 1n)),
        makeTensor('one', 'float32', [1], Float32Array.of(1)),
      ],
      nodes: [
        makeNode('Conv', ['x', 'w'], ['a'], {}, { name: 'a' }),
        makeNode('Expand', ['one', 'shape'], ['ones']),
        makeNode('Mul', ['a', 'ones'], ['b']),
        makeNode('Slice', ['b'], ['c'], { axes: [1], starts: [1], ends: [-1] }),
        makeNode('Conv', ['c', 'v'], ['y'], {}, { name: 'y' }),
      ],
    });
    const channels = await trace(model);
    const masked = maskChannels(model, channels, new Set([0, 3]));
    const cut = removeChannels(masked, channels, new Set([0, 3]));
    expect([dims(cut, 'w'), dims(cut, 'v')]).toEqual([
      [4, 3, 1, 1],
      [2, 3, 1, 1],
    ]);
    expect(difference(await runModel(masked, feeds), await runModel(cut, feeds))).toBeLessThan(1e-6);
  });
});

describe('a Resize to constant sizes', () => {
  it('has its channel number mended', async () => {
    const b = builder(4, [3, 4, 4]);
    const big = b.op('Resize', [b.conv(b.x, 8).name, '', '', b.numbers([2, 8, 8, 8])], [8, 8, 8], { mode: 'nearest' });
    const model = b.model(b.conv(big, 4));
    const channels = await trace(model);
    const masked = maskChannels(model, channels, new Set([5]));
    const cut = removeChannels(masked, channels, new Set([5]));
    const resize = cut.graph.node.find((node) => node.op_type === 'Resize');
    expect(tensorNumbers(initializers(cut.graph).get(resize?.input[3] as string) as never)).toEqual([2, 7, 8, 8]);
    expect(difference(await runModel(masked, feeds), await runModel(cut, feeds))).toBeLessThan(1e-6);
  });
});

describe('removableChannels', () => {
  it('takes channels whose readers are zero as well as channels that are zero', async () => {
    const model = network({ seed: 1, blocks: [{ kind: 'conv', width: 8 }], tail: 'pooled' });
    const channels = await trace(model);
    expect(removableChannels(model, channels).size).toBe(0);
    const readers = maskChannels(model, channels, new Set([2]), (member) => member.role === 'in');
    expect([...removableChannels(readers, channels)]).toEqual([2]);
    const filters = maskChannels(model, channels, new Set([2]), (member) => member.role === 'out');
    // The bias still makes the channel a constant.
    expect(removableChannels(filters, channels).size).toBe(0);
  });

  it('does not take a zero channel that an activation makes something else', async () => {
    const b = builder(1, [3, 4, 4]);
    const gate = b.unary('Sigmoid', b.conv(b.x, 4, { name: 'first' }));
    const model = b.model(b.conv(gate, 2, { name: 'last' }));
    const channels = await trace(model);
    const masked = maskChannels(model, channels, new Set([1]));
    expect(removableChannels(masked, channels).size).toBe(0);
  });

  it('does not take a zero channel that batch norm shifts', async () => {
    const b = builder(1, [3, 4, 4]);
    const y = b.conv(b.x, 4, { name: 'first' });
    const [scale, shift, mean, variance] = [b.stored([4]), b.stored([4]), b.stored([4]), b.stored([4], 0.2, 0.5)];
    const normed = b.op('BatchNormalization', [y.name, scale, shift, mean, variance], y.dims);
    const model = b.model(b.conv(normed, 2, { name: 'last' }));
    const channels = await trace(model);
    const but = (tensor: string) =>
      maskChannels(
        model,
        channels,
        new Set([1]),
        (m) => m.role !== 'in' && m.role !== 'through' && m.tensor !== tensor,
      );
    expect(removableChannels(but(mean), channels).size).toBe(0);
    expect(removableChannels(but(shift), channels).size).toBe(0);
    expect([...removableChannels(but(''), channels)]).toEqual([1]);
  });

  it('needs every member of a residual sum to be zero', async () => {
    const model = smallConvNet();
    const channels = await trace(model, { x: floats(noise(9, 2 * 192), [2, 3, 8, 8]) });
    const one = maskChannels(model, channels, new Set([4]), (m) => m.layer === 'conv1' && m.role !== 'in');
    expect(removableChannels(one, channels).size).toBe(0);
    const both = maskChannels(model, channels, new Set([4]));
    expect([...removableChannels(both, channels)]).toEqual([4]);
  });
});

function difference(a: Awaited<ReturnType<typeof runModel>>, b: Awaited<ReturnType<typeof runModel>>): number {
  return Math.max(
    ...Object.keys(a).flatMap((name) => {
      const [x, y] = [a[name]?.data as Float32Array, b[name]?.data as Float32Array];
      expect(y).toHaveLength(x.length);
      return [...x].map((v, i) => Math.abs(v - (y[i] as number)));
    }),
  );
}
