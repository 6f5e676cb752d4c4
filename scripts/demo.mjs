// `npm run demo`: compresses LeNet-5 on MNIST by a schedule, shows the table, and checks what it promises.
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const out = join(root, 'runs', 'demo');
const args = ['bin/qtool', 'quantize', 'examples/mnist/lenet-5.onnx', '--schedule', 'examples/mnist/prune-int8.yaml'];
args.push('--data', 'configs/mnist.yaml', '-o', 'runs/demo', '--force');

console.log(`$ ${['qtool', ...args.slice(1)].join(' ')}\n`);
const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
if (status !== 0) process.exit(status ?? 1);

const { baseline, result } = JSON.parse(await readFile(join(out, 'report.json'), 'utf8'));
const top1 = result.measurement.metrics.find((m) => m.name === 'top1');
const share = (100 * result.measurement.bytes) / baseline.bytes;
console.log(
  `\ntop-1 ${top1.value.toFixed(2)} %, drop ${top1.drop.toFixed(2)} points; ${share.toFixed(1)} % of the bytes`,
);
if (top1.drop > 0.2 || share > 27) {
  console.error('the demo promises a drop of at most 0.2 points and at most 27 % of the bytes');
  process.exit(1);
}
