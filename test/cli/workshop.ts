import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { writeModel } from '../../src/graph/file.ts';
import type { Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';

/** A folder of its own for one test file, with a model, labelled images and what describes them. */
export interface Workshop {
  path(...parts: string[]): string;
  write(name: string, content: string | Uint8Array): Promise<string>;
  remove(): Promise<void>;
}

export async function openWorkshop(): Promise<Workshop> {
  const folder = await mkdtemp(join(tmpdir(), 'qtool-cli-'));
  const path = (...parts: string[]): string => join(folder, ...parts);
  return {
    path,
    async write(name, content) {
      await mkdir(dirname(path(name)), { recursive: true });
      await writeFile(path(name), content);
      return path(name);
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

/** Side of the images, and the four classes of the classifier. */
const side = 8;
const classes = 4;

/**
 * [N, 3, 8, 8] → Conv 3×3 → Relu → mean over the image → Gemm → 4 scores. Class c has its own mean colour, which the first
 * three channels hand through, so that the model is right on `writeImages`' images and stays so under rounding.
 */
function classifier(): Model {
  const conv = new Float32Array(4 * 3 * 3 * 3);
  for (let c = 0; c < 3; c++) conv[(c * 3 + c) * 9 + 4] = 1;
  conv.fill(0.01, 3 * 27);
  // Scores: red, green, blue, and "none of them".
  const fc = Float32Array.from([4, -2, -2, 0.1, -2, 4, -2, 0.1, -2, -2, 4, 0.1, -2, -2, -2, -0.1]);
  return makeModel({
    inputs: [makeValue('x', 'float32', ['N', 3, side, side])],
    outputs: [makeValue('scores', 'float32', ['N', classes])],
    nodes: [
      makeNode('Conv', ['x', 'conv.weight', 'conv.bias'], ['c'], { pads: [1, 1, 1, 1] }, { name: 'conv' }),
      makeNode('Relu', ['c'], ['r'], {}, { name: 'relu' }),
      makeNode('GlobalAveragePool', ['r'], ['p'], {}, { name: 'pool' }),
      makeNode('Flatten', ['p'], ['f'], {}, { name: 'flatten' }),
      makeNode('Gemm', ['f', 'fc.weight', 'fc.bias'], ['scores'], { transB: 1 }, { name: 'fc' }),
    ],
    initializers: [
      makeTensor('conv.weight', 'float32', [4, 3, 3, 3], conv),
      makeTensor('conv.bias', 'float32', [4], new Float32Array(4)),
      makeTensor('fc.weight', 'float32', [classes, 4], fc),
      makeTensor('fc.bias', 'float32', [classes], Float32Array.from([0, 0, 0, 1.5])),
    ],
  });
}

/** `count` PNG files a class under `<folder>/<class>/`, each class in its own colour with a little seeded noise. */
export async function writeImages(shop: Workshop, folder: string, count: number): Promise<void> {
  let state = 1;
  const noise = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 27;
  for (const [c, name] of ['a_red', 'b_green', 'c_blue', 'd_none'].entries())
    for (let i = 0; i < count; i++) {
      const pixels = Uint8Array.from({ length: side * side * 3 }, (_, k) => (k % 3 === c ? 200 : 10) + noise());
      const png = await sharp(pixels, { raw: { width: side, height: side, channels: 3 } })
        .png()
        .toBuffer();
      await shop.write(join(folder, name, `${i}.png`), png);
    }
}

/** The usual set: model.onnx, images/, data.yaml, schedule.yaml. */
export async function furnish(shop: Workshop): Promise<void> {
  await writeModel(classifier(), shop.path('model.onnx'));
  await writeImages(shop, 'images', 12);
  await shop.write('data.yaml', dataConfig('images'));
  await shop.write('schedule.yaml', schedule());
}

export const dataConfig = (path: string): string => `version: 1
data: { kind: image-folder, path: ${path} }
split: { calibration: 8 }
transforms: { scale: 1/255 }
metric: top1
`;

export const schedule = (weights = "'*'"): string => `version: 1
pruners:
  light: { class: SparsityLevelParameterPruner, levels: { ${weights}: 0.2 } }
policies:
  - pruner: { instance_name: light }
    epochs: [0]
    gate: { metric: top1, max_drop: 1, on_fail: undo }
`;
