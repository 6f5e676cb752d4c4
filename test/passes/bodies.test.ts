import { bytesOf } from '../../src/graph/bytes.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { everyNode, subgraphs } from '../../src/graph/query.ts';
import { makeTensor, typeOf, weightBytes } from '../../src/graph/tensor.ts';
import type { Feeds } from '../../src/data/types.ts';
import { passes } from '../../src/passes/index.ts';
import type { Pass, PassResult } from '../../src/passes/pass.ts';
import { control } from '../helpers/bodies.ts';
import { floats, runModel, testContext } from '../helpers/context.ts';
import { noise, weight } from '../helpers/models.ts';

const value = (name: string) => makeValue(name, 'float32');
const scalar = (name: string, number: number) => makeTensor(name, 'int64', [], BigInt64Array.of(BigInt(number)));
const x = (seed: number) => floats(noise(seed, 8 * 32, 1), [8, 32]);

/** Two products in each branch of an If on a number that is fed; one weight is the main graph's, and its product reads it too. */
function branches(): { model: Model; calibration: Feeds[] } {
  const branch = (own: string, first: string) => ({
    nodes: [
      makeNode('MatMul', ['h', 'shared'], [`${own}1`], {}, { name: `${own} first` }),
      makeNode('Sigmoid', [`${own}1`], [`${own}2`]),
      makeNode('MatMul', [`${own}2`, first], [`${own}3`], {}, { name: `${own} second` }),
    ],
    outputs: [value(`${own}3`)],
    initializers: [weight(first, [32, 32], own.length)],
  });
  const model = makeModel({
    opset: 17,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 32]), makeValue('rate', 'int64', [])],
    outputs: [value('y')],
    initializers: [weight('shared', [32, 32], 1), weight('w', [32, 32], 2), scalar('eight', 8)],
    nodes: [
      makeNode('MatMul', ['x', 'w'], ['h'], {}, { name: 'main' }),
      makeNode('Equal', ['rate', 'eight'], ['is8']),
      control('If', ['is8'], ['c'], { then_branch: branch('t', 'wt'), else_branch: branch('else', 'we') }),
      makeNode('MatMul', ['h', 'shared'], ['m']),
      makeNode('Add', ['c', 'm'], ['y']),
    ],
  });
  const rate = (number: number) => ({ type: 'int64' as const, dims: [], data: BigInt64Array.of(BigInt(number)) });
  return { model, calibration: [8, 16, 8, 16].map((number, i) => ({ x: x(i), rate: rate(number) })) };
}

/** Three rounds of a product, an activation and a Conv in a Loop, which gives its state and what it was in each round. */
function loop(): { model: Model; calibration: Feeds[] } {
  const model = makeModel({
    opset: 17,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 32])],
    outputs: [value('y'), value('all')],
    initializers: [scalar('three', 3), weight('outer', [32, 32], 3)],
    nodes: [
      control('Loop', ['three', '', 'x'], ['y', 'all'], {
        body: {
          inputs: [makeValue('i', 'int64', []), makeValue('go', 'bool', []), value('state')],
          outputs: [makeValue('goes', 'bool', []), value('next'), value('seen')],
          initializers: [weight('kernel', [4, 4, 3], 4)],
          nodes: [
            makeNode('Identity', ['go'], ['goes']),
            makeNode('MatMul', ['state', 'outer'], ['p'], {}, { name: 'product' }),
            makeNode('Tanh', ['p'], ['a']),
            makeNode('Constant', [], ['cut'], { value_ints: [-1, 4, 8] }),
            makeNode('Reshape', ['a', 'cut'], ['channels']),
            makeNode('Conv', ['channels', 'kernel'], ['conv'], { pads: [1, 1] }, { name: 'conv' }),
            makeNode('Shape', ['a'], ['shape']),
            makeNode('Reshape', ['conv', 'shape'], ['next']),
            makeNode('Identity', ['a'], ['seen']),
          ],
        },
      }),
    ],
  });
  return { model, calibration: [1, 2].map((seed) => ({ x: x(seed) })) };
}

/** A Scan over the rows of its input, backwards, with a product of the state and one of the row. */
function scan(): { model: Model; calibration: Feeds[] } {
  const model = makeModel({
    opset: 17,
    ir: 8,
    inputs: [makeValue('x', 'float32', [8, 32])],
    outputs: [value('last'), value('y')],
    initializers: [makeTensor('zero', 'float32', [1, 32], new Float32Array(32)), weight('input', [32, 32], 5)],
    nodes: [
      control(
        'Scan',
        ['zero', 'x'],
        ['last', 'y'],
        {
          body: {
            inputs: [makeValue('h', 'float32', [1, 32]), makeValue('row', 'float32', [32])],
            outputs: [value('next'), value('out')],
            initializers: [weight('recurrent', [32, 32], 6, 0.1)],
            nodes: [
              makeNode('Constant', [], ['axis'], { value_ints: [0] }),
              makeNode('Unsqueeze', ['row', 'axis'], ['one']),
              makeNode('MatMul', ['one', 'input'], ['p'], {}, { name: 'input product' }),
              makeNode('MatMul', ['h', 'recurrent'], ['q'], {}, { name: 'state product' }),
              makeNode('Add', ['p', 'q'], ['sum']),
              makeNode('Tanh', ['sum'], ['next']),
              makeNode('Squeeze', ['next', 'axis'], ['out']),
            ],
          },
        },
        { num_scan_inputs: 1, scan_input_directions: [1], scan_output_directions: [1] },
      ),
    ],
  });
  return { model, calibration: [1, 2].map((seed) => ({ x: x(seed) })) };
}

const models = { If: branches, Loop: loop, Scan: scan };

async function applied(
  name: string,
  options: object,
  { model, calibration }: { model: Model; calibration: Feeds[] },
): Promise<PassResult> {
  const pass = passes.find((one) => one.name === name) as Pass;
  return pass.apply(model, pass.options.parse(options), testContext({ calibration, reference: model }));
}

describe('a pass that works in the main graph only', () => {
  const prune = { sparsity: 0.5, criterion: 'magnitude', refit: false };

  it.each(['If', 'Loop', 'Scan'] as const)('says of each layer in a body of %s that it left it', async (kind) => {
    const { skipped } = await applied('prune/global', prune, models[kind]());
    const told = skipped.filter(({ text }) => text.includes('lies inside a body'));
    expect(told.map(({ layer }) => layer.split(' ')[0])).toEqual(Array.from({ length: kind === 'If' ? 4 : 2 }, () => kind)); // prettier-ignore
    expect(new Set(told.map(({ layer }) => layer)).size).toBe(told.length);
  });

  it('is refused with the reason where it is an allocator and all layers lie in bodies', async () => {
    await expect(applied('allocate/sqnr', { budget: { weights: 4 } }, scan())).rejects.toMatchObject({
      code: 'schedule',
      message: expect.stringContaining('2 lie in bodies') as string,
      hint: expect.stringContaining('int8') as string,
    });
  });

  it('says nothing of layers where it folds', async () => {
    expect((await applied('fold/constants', {}, branches())).skipped).toEqual([]);
  });
});

/** Bytes of all that is stored, in bodies too. */
const bytes = ({ graph }: Model): number =>
  [graph, ...[...everyNode(graph)].flatMap(subgraphs)].reduce((sum, one) => sum + weightBytes(one), 0);

/** Largest difference of the outputs, as a share of the largest number. */
async function apart(before: Model, after: Model, feeds: readonly Feeds[]): Promise<number> {
  let worst = 0;
  for (const level of ['disabled', 'all'] as const)
    for (const one of feeds) {
      const [was, is] = [await runModel(before, one, level), await runModel(after, one, level)];
      for (const [output, { data }] of Object.entries(was)) {
        const numbers = Array.from(data as Float32Array);
        const large = Math.max(...numbers.map(Math.abs));
        numbers.forEach((v, i) => (worst = Math.max(worst, Math.abs(v - (is[output]?.data[i] as number)) / large)));
      }
    }
  return worst;
}

// What the widths allow on sums of 32 products, in up to eight rounds: a wrong scale, branch or weight gives 0.5 and more.
const cases: [string, object, number, number][] = [
  ['quantize/weights_only', { bits_weights: 8 }, 0.02, 0.4],
  ['quantize/weights_only', { bits_weights: 4, block_size: 32, method: 'gptq' }, 0.25, 0.35],
  ['quantize/weights_only', { bits_weights: 4, block_size: 32, storage: 'packed', accuracy_level: 0 }, 0.25, 0.35],
  ['quantize/static', { bits_weights: 7 }, 0.08, 0.6],
  ['quantize/dynamic', { bits_weights: 7 }, 0.08, 0.6],
  // Rounding of values takes tables of its own, which are as large as such small weights.
  ['quantize/to_format', { format: 'int8', activations: 'int8' }, 0.08, 1.3],
  ['quantize/float16', {}, 0.002, 0.8],
];

describe.each(Object.entries(models))('in the bodies of %s', (op, made) => {
  it.each(cases)('%s %j compresses what is there', async (name, options, most, share) => {
    const given = made();
    const result = await applied(name, options, given);
    const inner = result.changed.filter(({ text }) => text.includes(`in ${op} "`));
    expect(inner.length).toBeGreaterThanOrEqual(op === 'Loop' && name === 'quantize/dynamic' ? 1 : 2);
    expect(result.skipped.filter(({ text }) => text.includes('lies inside a body'))).toEqual([]);
    // The shared weight stands once for the main graph and once a branch.
    expect(bytes(result.model) / bytes(given.model)).toBeLessThan(op === 'If' ? share * 1.5 : share + 0.35);
    const error = await apart(given.model, result.model, given.calibration);
    expect(error).toBeGreaterThan(0);
    expect(error).toBeLessThan(most);
    if (result.twin) expect(await apart(given.model, result.twin, given.calibration)).toBeLessThan(1e-5);
  });
});

it('static quantization calibrates a branch by the samples that take it', async () => {
  const { model, calibration } = branches();
  // Samples of the other branch are a hundred times as large: they must not widen this one's ranges.
  const uneven = calibration.map((feeds) =>
    feeds.rate?.data[0] === 8n
      ? feeds
      : {
          ...feeds,
          x: floats(
            (feeds.x?.data as Float32Array).map((v) => 100 * v),
            [8, 32],
          ),
        },
  );
  const { model: quantized } = await applied(
    'quantize/static',
    { bits_weights: 7, overrides: { main: { bits_weights: 'float' } } },
    { model, calibration: uneven },
  );
  const [of8] = uneven.filter((feeds) => feeds.rate?.data[0] === 8n);
  // The main graph's own product is calibrated on all and so is coarse: what the branch alone gives is looked at.
  const branch = quantized.graph.node
    .find((node) => node.op_type === 'If')
    ?.attribute.find(({ name }) => name === 'then_branch')?.g;
  const scales = branch?.initializer.filter((t) => t.name.startsWith('h_scale')) ?? [];
  expect(of8 && scales).toHaveLength(1);
  // 255 steps over what |h| < 16 spans; the others would make it 12 and more.
  expect(new Float32Array(bytesOf(scales[0]!.raw_data).slice().buffer)[0]).toBeLessThan(0.15);
});

it('a branch that no sample takes keeps float arithmetic under static quantization, and says so', async () => {
  const { model, calibration } = branches();
  const taken = calibration.filter((feeds) => feeds.rate?.data[0] === 8n);
  const result = await applied('quantize/static', { bits_weights: 7 }, { model, calibration: taken });
  expect(result.notes?.join('\n')).toMatch(
    /else_branch: no calibration sample reaches it; there is nothing to calibrate by/,
  );
  const branch = result.model.graph.node
    .find((node) => node.op_type === 'If')
    ?.attribute.find(({ name }) => name === 'else_branch')?.g;
  expect(branch?.initializer.some((tensor) => typeOf(tensor) === 'int8')).toBe(true);
  expect(branch?.node.some((node) => node.op_type === 'QuantizeLinear')).toBe(false);
  // Inputs of the other branch, of which calibration saw nothing.
  expect(await apart(model, result.model, calibration)).toBeLessThan(0.08);
});

it('pruning reaches bodies, and a body that is left alone reads the weight of the main graph as it is there', async () => {
  const { model, calibration } = branches();
  const result = await applied('prune/level', { levels: { '*': 0.5 } }, { model, calibration });
  const graphs = [result.model.graph, ...[...everyNode(result.model.graph)].flatMap(subgraphs)];
  for (const { initializer } of graphs)
    for (const tensor of initializer.filter((one) => typeOf(one) === 'float32')) {
      const data = new Float32Array(bytesOf(tensor.raw_data).slice().buffer);
      expect(data.filter((v) => v === 0).length / data.length).toBeCloseTo(0.5, 2);
    }
  // Both bodies read the pruned `shared` from outside.
  expect(graphs.flatMap(({ initializer }) => initializer.map(({ name }) => name)).sort()).toEqual([
    'eight',
    'shared',
    'w',
    'we',
    'wt',
  ]);
});

it('codes that a Cast decodes stand once for the main graph and the bodies', async () => {
  const given = branches();
  const { model: half } = await applied('quantize/float16', {}, given);
  const graphs = [half.graph, ...[...everyNode(half.graph)].flatMap(subgraphs)];
  const names = graphs.flatMap(({ initializer }) => initializer.map(({ name }) => name));
  expect(names.filter((name) => name.startsWith('shared'))).toEqual(['shared_half']);
});
