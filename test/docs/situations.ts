import { readFile, rm, truncate } from 'node:fs/promises';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { readModel, writeModel } from '../../src/graph/file.ts';
import type { Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { dataConfig, writeImages, type Workshop } from '../cli/workshop.ts';

/** A command line that ends in a text which docs/troubleshooting.md explains, in a folder with the workshop's files. */
export interface Situation {
  readonly args: string;
  readonly code: number;
  readonly make?: (shop: Workshop) => Promise<unknown>;
}

const quantize = (model: string, rest: string): string => `quantize ${model}.onnx ${rest} -o out --no-latency`;
const config = (text: string) => (shop: Workshop) => shop.write('other.yaml', text);
const folder = 'kind: image-folder, path: images';
const gate = (limit: string, quantizer = 'bits_weights: 2'): string =>
  `quantizers: { q: { class: PostTrainLinearQuantizer, ${quantizer} } }\npolicies:\n` +
  `  - { quantizer: { instance_name: q }, epochs: [0], gate: { ${limit} } }\n`;

/** [N, 3] times a matrix. */
const matMul = (weight: Model['graph']['initializer'][number], first: number | string = 'N', domain = ''): Model =>
  makeModel({
    inputs: [makeValue('x', 'float32', [first, 'T', 3])],
    outputs: [makeValue('y', 'float32', [first, 'T', 3])],
    nodes: [
      domain === ''
        ? makeNode('MatMul', ['x', 'w'], ['y'], {}, { name: 'fc' })
        : makeNode('Swirl', ['x'], ['y'], {}, { name: 'swirl', domain }),
    ],
    initializers: domain === '' ? [weight] : [],
    ...(domain === '' ? {} : { domains: { [domain]: 1 } }),
  });
const weight = makeTensor(
  'w',
  'float32',
  [3, 3],
  Float32Array.from({ length: 9 }, (_, i) => i / 9),
);

export const situations: Readonly<Record<string, Situation>> = {
  'a damaged model': {
    args: quantize('cut', '--schedule int8 --data data.yaml'),
    code: 2,
    async make(shop) {
      const bytes = await readFile(shop.path('model.onnx'));
      await shop.write('cut.onnx', bytes.subarray(0, 800));
    },
  },
  'external data that is not there': {
    args: quantize('parts', '--schedule int8 --data random'),
    code: 2,
    make: (shop) =>
      writeModel(
        matMul({
          ...weight,
          raw_data: new Uint8Array(0),
          data_location: 1,
          external_data: [{ key: 'location', value: 'parts.onnx.data' }],
        }),
        shop.path('parts.onnx'),
      ),
  },
  'a file over 2 GiB': {
    args: quantize('huge', '--schedule int8 --data random'),
    code: 2,
    async make(shop) {
      // A hole in the file system: it takes no room.
      await shop.write('huge.onnx', '');
      await truncate(shop.path('huge.onnx'), 2 ** 31);
    },
  },
  'a custom operator': {
    args: quantize('custom', '--schedule int8 --data random'),
    code: 2,
    make: (shop) => writeModel(matMul(weight, 'N', 'com.example'), shop.path('custom.onnx')),
  },
  'a free axis': {
    args: quantize('free', '--schedule int8 --data random'),
    code: 2,
    make: (shop) => writeModel(matMul(weight), shop.path('free.onnx')),
  },
  'images without a word on preprocessing, unlabelled': {
    args: quantize('model', '--schedule int8 --data images/a_red'),
    code: 2,
  },
  'images of which no preprocessing is right': {
    args: quantize('model', '--schedule int8 --data shifted'),
    code: 2,
    // Class folders in another order than the model's classes.
    make: async (shop) => {
      await writeImages(shop, 'shifted', 12);
      for (const [from, to] of [
        ['a_red', 'b'],
        ['b_green', 'c'],
        ['c_blue', 'd'],
        ['d_none', 'a'],
      ])
        // prettier-ignore
        for (let i = 0; i < 12; i++)
          await shop.write(`shifted/${to}/${i}.png`, await readFile(shop.path(`shifted/${from}/${i}.png`)));
      for (const from of ['a_red', 'b_green', 'c_blue', 'd_none'])
        await rm(shop.path('shifted', from), { recursive: true });
    },
  },
  'images on which several are right': { args: quantize('model', '--schedule int8 --data images'), code: 2 },
  'data of another shape': {
    args: quantize('model', '--schedule int8 --data other.yaml'),
    code: 2,
    make: config(dataConfig('images').replace('scale:', 'resize: 6, scale:')),
  },
  'a label out of range': {
    args: quantize('model', '--schedule int8 --data other.yaml'),
    code: 2,
    async make(shop) {
      await shop.write('labels.csv', 'file,label\na_red/0.png,1\nb_green/0.png,2\nc_blue/0.png,3\nd_none/0.png,4\n');
      await config('data: { kind: manifest, path: labels.csv, images: images }\ntransforms: { scale: 1/255 }\n')(shop);
    },
  },
  'a folder without images': {
    args: quantize('model', '--schedule int8 --data other.yaml'),
    code: 2,
    make: async (shop) => {
      await shop.write('empty/notes.txt', 'no image');
      await config(dataConfig('empty'))(shop);
    },
  },
  'a metric that needs labels': {
    args: quantize('model', '--schedule int8 --data other.yaml'),
    code: 2,
    make: config('data: { kind: random }\nmetric: top1\n'),
  },
  'a gate that needs labels': {
    args: quantize('model', '--schedule gate.yaml --data random'),
    code: 2,
    make: (shop) => shop.write('gate.yaml', gate('metric: top1, max_drop: 1')),
  },
  'a module': {
    args: quantize('model', '--schedule own.yaml --data data.yaml'),
    code: 2,
    make: (shop) =>
      shop.write(
        'own.yaml',
        'extensions: { clip: { class: ./clip.mjs } }\npolicies:\n  - { extension: { instance_name: clip }, epochs: [0] }\n',
      ),
  },
  'an unknown key': {
    args: 'check typo.yaml',
    code: 2,
    make: (shop) => shop.write('typo.yaml', gate('metric: top1, max_drop: 1', 'bits_weight: 8')),
  },
  'an unknown schedule': { args: quantize('model', '--schedule int9 --data data.yaml'), code: 2 },
  'a selector that matches nothing': {
    args: quantize('model', '--schedule selector.yaml --data data.yaml'),
    code: 2,
    make: (shop) =>
      shop.write('selector.yaml', gate('metric: top1, max_drop: 1', "overrides: { 'cnov*': { bits_weights: 4 } }")),
  },
  'a folder in use': {
    args: 'quantize model.onnx --schedule int8 --data data.yaml -o images',
    code: 2,
  },
  'a gate that stops': {
    args: quantize('model', '--schedule gate.yaml --data data.yaml'),
    code: 1,
    make: (shop) => shop.write('gate.yaml', gate('metric: sqnr, min: 60, on_fail: stop')),
  },
  'a model that is quantized already': {
    args: 'quantize small.onnx --schedule int8 --data data.yaml -o twice --no-latency',
    code: 0,
    async make(shop) {
      const { compress } = await import('../../src/index.ts');
      const data = shop.path('data.yaml');
      const { model } = await compress({
        model: await readModel(shop.path('model.onnx')),
        schedule: 'int8-no-vnni',
        data,
        latency: false,
      });
      await shop.write('small.onnx', model);
    },
  },
  'wrong labels': {
    args: quantize('model', '--schedule int8 --data other.yaml'),
    code: 0,
    make: (shop) => config(`data: { ${folder.replace('images', 'shifted')} }\ntransforms: { scale: 1/255 }\n`)(shop),
  },
};
