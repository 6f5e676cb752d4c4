// `npm run demo`: compresses LeNet-5 on MNIST by three schedules, shows their tables, and checks what they promise.
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Schedule, folder below runs/, and what it promises: points of top-1 lost and share of the bytes, in percent, at most. */
const promises = [
  { schedule: 'examples/mnist/prune-int8.yaml', folder: 'demo', drop: 0.2, share: 27 },
  { schedule: 'schedules/sqnr-mixed.yaml', folder: 'demo-mixed', drop: 0.5, share: 6 },
  { schedule: 'examples/mnist/retrain.yaml', folder: 'demo-retrain', drop: 0.25, share: 3.2 },
];

for (const { schedule, folder, drop, share: most } of promises) {
  const args = ['bin/qtool', 'quantize', 'examples/mnist/lenet-5.onnx', '--schedule', schedule];
  args.push('--data', 'configs/mnist.yaml', '-o', `runs/${folder}`, '--force');

  console.log(`$ ${['qtool', ...args.slice(1)].join(' ')}\n`);
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);

  const { baseline, result } = JSON.parse(await readFile(join(root, 'runs', folder, 'report.json'), 'utf8'));
  const top1 = result.measurement.metrics.find((m) => m.name === 'top1');
  const share = (100 * result.measurement.bytes) / baseline.bytes;
  console.log(
    `\ntop-1 ${top1.value.toFixed(2)} %, drop ${top1.drop.toFixed(2)} points; ${share.toFixed(1)} % of the bytes\n`,
  );
  if (top1.drop > drop || share > most) {
    console.error(`${schedule} promises a drop of at most ${drop} points and at most ${most} % of the bytes`);
    process.exit(1);
  }
}
