import { main } from '../../src/cli/main.ts';
import { visible } from '../../src/cli/visible.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { writeModel } from '../../src/graph/file.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { fakeIo } from './fake_io.ts';
import { openWorkshop, type Workshop } from './workshop.ts';

let shop: Workshop;
beforeAll(async () => void (shop = await openWorkshop()));
afterAll(() => shop.remove());

it('shows control characters and leaves the tool\u2019s own colours', () => {
  expect(visible('a\tb\n', false)).toBe('a\tb\n');
  expect(visible('\u001b[31mred\u001b[39m', true)).toBe('\u001b[31mred\u001b[39m');
  expect(visible('\u001b[31mred', false)).toBe('\\u001b[31mred');
  // Cursor, title, concealed text, one-byte CSI, return, right-to-left.
  expect(visible('\u001b[2J\u001b]0;t\u0007\u001b[8m\u009b2J\r\u202e', true)).toBe(
    '\\u001b[2J\\u001b]0;t\\u0007\\u001b[8m\\u009b2J\\u000d\\u202e',
  );
});

it.each([[[]], [['--json']], [['--color']]])('names of a model reach no terminal: %j', async (flags) => {
  const name = 'fc\u001b]0;owned\u0007\u001b[2J\u009b3J';
  const model = makeModel({
    inputs: [makeValue('x', 'float32', ['N', 4])],
    outputs: [makeValue('y', 'float32', ['N', 4])],
    nodes: [makeNode('MatMul', ['x', `${name}.w`], ['y'], {}, { name })],
    initializers: [
      makeTensor(
        `${name}.w`,
        'float32',
        [4, 4],
        Float32Array.from({ length: 16 }, (_, i) => i - 8),
      ),
    ],
  });
  await writeModel(model, shop.path('model.onnx'));
  await shop.write('s.yaml', 'version: 1\nquantizers: { q: { class: WeightOnlyQuantizer } }\n');
  const rest = ['--data', 'random', '--no-latency', '--force', '-o', shop.path('out')];
  const commands = [
    ['quantize', shop.path('model.onnx'), '--schedule', shop.path('s.yaml'), ...rest],
    ['inspect', shop.path('model.onnx')],
    ['eval', shop.path('none\u001b[2J.onnx'), '--data', 'random'],
  ];
  for (const command of commands) {
    const io = fakeIo();
    await main([...command, ...flags], io);
    const text = io.out() + io.err();
    expect(text).toContain('\\u001b[2J');
    expect(text.replace(/\u001b\[(?:1|2|22|31|32|33|39)m/g, '')).not.toMatch(
      /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/,
    );
    if (flags.includes('--json')) expect(JSON.stringify(JSON.parse(io.out()))).toContain('[2J');
  }
});
