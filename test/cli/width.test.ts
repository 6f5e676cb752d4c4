import { main } from '../../src/cli/main.ts';
import { edit } from '../../src/graph/edit.ts';
import { readModel, writeModel } from '../../src/graph/file.ts';
import { visibleWidth } from '../../src/report/table.ts';
import { fakeIo } from './fake_io.ts';
import { furnish, openWorkshop, type Workshop } from './workshop.ts';

let shop: Workshop;
const before = process.cwd();
beforeAll(async () => {
  await furnish((shop = await openWorkshop()));
  const model = await readModel(shop.path('model.onnx'));
  // Names as exporters write them: longer than a line.
  const long = edit(model, (draft) => {
    for (const [i, node] of model.graph.node.entries())
      draft.update(node, {
        name: `/backbone/features/features.${i}/block/conv_pointwise/${node.op_type}_of_a_long_name`,
      });
  });
  await writeModel(long, shop.path('long.onnx'));
  process.chdir(shop.path());
});
afterAll(async () => {
  process.chdir(before);
  await shop.remove();
});

describe('80 columns', () => {
  const data = ['--data', 'data.yaml', '--quiet'];
  it.each([
    [['quantize', 'long.onnx', '--schedule', 'int8-accurate', ...data, '-o', 'out', '--no-latency']],
    [['quantize', 'long.onnx', '--schedule', 'int8', ...data, '-o', 'no', '--dry-run']],
    [['check', 'w4a8', '--model', 'long.onnx']],
    [['eval', 'out/model.onnx', '--reference', 'long.onnx', ...data]],
    [['compare', 'long.onnx', 'out/model.onnx', ...data]],
    [['verify-integer', 'out/model.onnx', ...data, '--accumulator', '16']],
    [['bench', 'long.onnx', 'out/model.onnx', '--batch', '1', '--seconds', '0', '--quiet']],
    [['inspect', 'long.onnx']],
    [['analyze', 'long.onnx', ...data, '--samples', '8']],
    [['sensitivity', 'long.onnx', ...data]],
    [['sensitivity', 'long.onnx', ...data, '--quantize', '--widths', '8,7,6,5,4,3,2']],
    [['report', 'out']],
    [['passes']],
    [['explain', 'PostTrainLinearQuantizer']],
    [['explain', 'SqnrAllocator']],
    [['schedules']],
    [['help']],
    [['help', 'quantize']],
    [['help', 'sensitivity']],
  ])('hold %j', async (args) => {
    const io = fakeIo({ columns: 80 });
    expect([await main(args, io), io.err()]).toEqual([0, '']);
    // What is to be pasted stays in its line.
    const pasted = /^(qtool | *'?\/backbone| *[a-z_]+: )/;
    expect(io.out().split('\n').filter((line) => visibleWidth(line) > 80 && !pasted.test(line))).toEqual([]); // prettier-ignore
  });
});
