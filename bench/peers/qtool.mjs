import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PERCENTILE } from './cases.mjs';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** qtool's command line for a setting: everything this benchmark knows about qtool's user interface stands here. */
export function qtoolCommand({ model, setting, samples, validation, work, output }) {
  const schedule = join(work, 'schedule.yaml');
  const data = join(work, 'data.yaml');
  writeFileSync(schedule, scheduleFor(setting));
  writeFileSync(data, dataFor(samples, validation, work));
  const args = [join(ROOT, 'bin/qtool'), 'quantize', model, '--schedule', schedule, '--data', data, '-o', output];
  return { command: process.execPath, args: [...args, '--no-measure', '--no-latency', '--quiet', '--force'] };
}

/** The float model run once on the same samples. */
export function floatCommand({ model, setting, samples, validation, work }) {
  const data = join(work, 'data.yaml');
  writeFileSync(data, dataFor(samples, validation, work));
  return { command: process.execPath, args: [join(ROOT, 'bench/peers/float_once.mjs'), model, data, setting.samples] };
}

function scheduleFor({ method, perChannel, samples }) {
  return `version: 1
quantizers:
  ptq:
    class: PostTrainLinearQuantizer
    bits_weights: 8
    bits_activations: 8
    per_channel: ${perChannel}
    calibration: { method: ${method}, samples: ${samples}${method === 'percentile' ? `, percentile: ${PERCENTILE}` : ''} }
policies:
  - quantizer: { instance_name: ptq }
    epochs: [0]
`;
}

/** The same samples in the same order as the Python side reads them; validation data must be there and is not run. */
function dataFor(samples, validation, work) {
  const parts = {
    calibration: sourceFor(samples, work, 'calibration'),
    validation: sourceFor(validation, work, 'validation'),
  };
  const { kind, crop, divide, mean, std } = samples;
  const transforms = {
    color: 'RGB',
    ...(crop && { center_crop: crop }),
    scale: `1/${divide}`,
    mean,
    std,
    layout: 'NCHW',
  };
  // JSON is YAML.
  return JSON.stringify(
    {
      version: 1,
      ...parts,
      ...(kind === 'images' && { transforms }),
      metric: kind === 'images' ? 'top1' : { name: 'top1', axis: -1 },
    },
    null,
    1,
  );
}

function sourceFor(samples, work, part) {
  const { inputs, labels, file, root, files } = samples;
  if (samples.kind === 'arrays') return { kind: 'npy', path: file, inputs, labels, shuffle: false };
  const list = join(work, `${part}.csv`);
  writeFileSync(list, ['file,label', ...files.map((name, at) => `${name},${labels[at]}`), ''].join('\n'));
  return { kind: 'manifest', path: list, images: root, shuffle: false };
}

/** @returns {{versions?: object, failure?: string}} */
export function prepareQtool() {
  if (!existsSync(join(ROOT, 'dist/cli/main.js'))) return { failure: 'is not built: npm run build' };
  const version = (path) => JSON.parse(readFileSync(join(ROOT, path), 'utf8')).version;
  const packages = ['onnxruntime-node', 'sharp'];
  const versions = packages.map((name) => [name, version(`node_modules/${name}/package.json`)]);
  return { versions: { qtool: version('package.json'), ...Object.fromEntries(versions), node: process.versions.node } };
}
