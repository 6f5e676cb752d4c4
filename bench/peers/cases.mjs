/**
 * What is compared: models with their data, and the settings that are run for each. A group is one setting that several
 * tools run alternately; its rows stand next to each other in the table.
 */

/** Models under `<data>/models`, and the archives or files under `<data>/data` that their samples come from. */
export const MODELS = {
  resnet20: cifar('resnet20_cifar10.onnx'),
  resnet56: cifar('resnet56_cifar10.onnx'),
  mobilenet: {
    file: 'mobilenet_v1_0.25_224_imagenet.onnx',
    kind: 'images',
    calibration: { archive: 'imagenet-sample/images.tar', list: 'imagenet-sample/calib.csv' },
    validation: { archive: 'imagenet-sample/images.tar', list: 'imagenet-sample/val.csv' },
    preprocessing: { crop: 224, divide: 127.5, mean: [1, 1, 1], std: [1, 1, 1] },
    latency: [{ type: 'float32', dims: [3, 224, 224] }],
    samples: [100],
  },
  g2p: {
    file: 'g2p_gru_seq2seq.onnx',
    kind: 'arrays',
    calibration: { file: 'g2p/g2p_eval2000.npz', start: 0, count: 512 },
    validation: { file: 'g2p/g2p_eval2000.npz', start: 512, count: 1488 },
    inputs: { chars: 'chars', lens: 'lens', phones: 'phones' },
    labels: 'labels',
    latency: [
      { name: 'chars', type: 'int64', dims: [17], below: 29 },
      { name: 'lens', type: 'int32', dims: [], constant: 17 },
      { name: 'phones', type: 'int64', dims: [16], below: 74 },
    ],
    samples: [512],
  },
};

function cifar(file) {
  return {
    file,
    kind: 'images',
    calibration: { archive: 'cifar10/train.tar', folder: 'train' },
    validation: { archive: 'cifar10/test.tar', folder: 'test' },
    preprocessing: { divide: 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
    latency: [{ type: 'float32', dims: [3, 32, 32] }],
    samples: [128, 512, 4096],
  };
}

/** onnxruntime's own default, so that both sides cut off the same share. */
export const PERCENTILE = 99.999;

/** Batch of the Python readers. Their histogram calibrators crash when the last batch is smaller: take a divisor. */
export function batchFor(samples) {
  for (let size = 16; size > 1; size--) if (samples % size === 0) return size;
  return 1;
}

/**
 * Settings of one model. Every tool takes part in a setting that it has: the runner asks `tool.takes(setting)`.
 * `others`: whether the tools beside onnxruntime and qtool run too (they would double the time and change nothing).
 */
export function settingsOf(name, { samples, methods }) {
  const counts = MODELS[name].samples.filter((count) => !samples || samples.includes(count));
  const settings = [];
  for (const count of counts) {
    const main = count === 512 || MODELS[name].samples.length === 1;
    if (main) settings.push({ method: 'minmax', perChannel: false, samples: count, others: false });
    for (const method of ['minmax', 'entropy', 'percentile'])
      settings.push({ method, perChannel: true, samples: count, others: main });
    if (main) settings.push({ method: 'default', perChannel: true, samples: count, others: true });
  }
  return settings.filter((setting) => !methods || methods.includes(setting.method));
}

export function keyOf({ method, perChannel, samples }) {
  return `${samples}-${method}-${perChannel ? 'channel' : 'tensor'}`;
}
