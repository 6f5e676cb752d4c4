import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { packModel } from '../../src/archive/pack.ts';
import { compress } from '../../src/api/compress.ts';
import type { ScheduleGiven } from '../../src/api/schedule.ts';
import type { SampleGiven } from '../../src/data/given.ts';
import type { Feeds, Tensor } from '../../src/data/types.ts';
import { encodeModel, decodeModel } from '../../src/graph/model.ts';
import { openSession } from '../../src/runtime/session.ts';
import { floats } from '../helpers/context.ts';
import { noise, random, smallConvNet } from '../helpers/models.ts';
import { imageNet, lstmNet } from './models.ts';

/** What bench/chromium.mjs and examples/browser/serve.mjs give, and Playwright's page as far as it is used here. */
interface Chromium {
  readonly page: {
    evaluate(code: string): Promise<unknown>;
    setInputFiles(selector: string, file: { name: string; mimeType: string; buffer: Buffer }): Promise<void>;
    waitForSelector(selector: string): Promise<unknown>;
  };
  adapter(): Promise<boolean>;
  load(address: string, options?: { provider?: 'wasm' | 'webgpu'; threads?: number; archive?: boolean }): Promise<void>;
  run(address: string, feeds: object): Promise<Record<string, Answer>>;
  close(): Promise<void>;
}
type Answer = { readonly type: string; readonly dims: readonly number[]; readonly data: readonly (number | bigint)[] };
type Files = Readonly<Record<string, string | Uint8Array>>;

const script = (path: string): Promise<unknown> => import(new URL(`../../${path}`, import.meta.url).href);
const { findChromium, openChromium, plain } = (await script('bench/chromium.mjs')) as {
  findChromium: () => string | undefined;
  openChromium: (files: Files, options: { executable: string; webgpu?: boolean }) => Promise<Chromium>;
  plain: (feeds: Feeds) => object;
};
const { page: example } = (await script('examples/browser/serve.mjs')) as {
  page: (model: string | Uint8Array) => Files;
};

const executable = findChromium();
const inChromium = executable === undefined ? it.skip : it;
const where = executable === undefined ? ' (skipped: there is no Chromium; CHROMIUM=<path> names one)' : '';

interface Case {
  readonly title: string;
  readonly model: string | Uint8Array;
  readonly schedule: ScheduleGiven;
  readonly target?: string | undefined;
  /** Dims of one sample. */
  readonly dims: readonly number[];
  /** How far WebAssembly may be from onnxruntime-node, as a share of the largest output. */
  readonly within: number;
  /** The same for WebGPU, where it is tried. */
  readonly webgpu?: number;
  readonly archive?: boolean;
}

// Integer kernels add up whole numbers, exact in any order, and round each sum to the nearest even by the same float32 product: every bit is the same. (Weights of 7
// bits: those of 8 saturate in onnxruntime-node on processors without VNNI, and never in WebAssembly.)
const sameBits = 0;
// Floats are added up in another order, in vectors of another width: K products of one size differ by some √K·2^-24 of their sum, 2e-6 at the K = 800 of LeNet-5.
const anotherOrder = 1e-5;
// What onnxruntime-node makes of DequantizeLinear of 4 bits and MatMul (MatMulNBits) rounds activations to 8 bits unless it is told to compute in float32, which WebAssembly does anyway:
// without this 4-bit weights differ by 4e-3.
const exactProducts = 'session.qdq_matmulnbits_accuracy_level';
// Not tried in WebGPU is what `--target webgpu` refuses or writes otherwise: static and dynamic int8 have no kernels there (they run, on the processor or in float), and 4 bits behind a
// Cast are not loaded by onnxruntime-web 1.30 ("Provider type for Cast node ... is not set").

const schedules = {
  dynamic: {
    quantizers: { q: { class: 'DynamicQuantizer', bits_weights: 7 } },
    policies: [{ quantizer: { instance_name: 'q' }, epochs: [0] }],
  },
  w4: {
    quantizers: {
      q: { class: 'WeightOnlyQuantizer', bits_weights: 4, block_size: 32, method: 'rtn', accuracy_level: 0 },
    },
    policies: [{ quantizer: { instance_name: 'q' }, epochs: [0] }],
  },
};
const mnist = (name: string): string => fileURLToPath(new URL(`../../examples/mnist/${name}.onnx`, import.meta.url));
const cases: readonly Case[] = [
  { title: 'LeNet-5, int8', model: mnist('lenet-5'), schedule: 'int8-no-vnni', dims: [1, 1, 28, 28], within: sameBits }, // prettier-ignore
  { title: 'LeNet-300-100, dynamic int8', model: mnist('lenet-300-100'), schedule: schedules.dynamic, dims: [1, 1, 28, 28], within: sameBits }, // prettier-ignore
  { title: 'LeNet-300-100, 4-bit weights', model: mnist('lenet-300-100'), schedule: schedules.w4, dims: [1, 1, 28, 28], within: anotherOrder }, // prettier-ignore
  { title: 'LeNet-300-100, 4-bit weights packed', model: mnist('lenet-300-100'), schedule: schedules.w4, target: 'webgpu', dims: [1, 1, 28, 28], within: anotherOrder, webgpu: anotherOrder }, // prettier-ignore
  { title: 'a convnet in float16', model: encodeModel(smallConvNet()), schedule: 'fp16', dims: [1, 3, 8, 8], within: anotherOrder, webgpu: anotherOrder }, // prettier-ignore
  { title: 'an LSTM stored in int8', model: encodeModel(lstmNet()), schedule: 'int8-fast', target: 'web-wasm', dims: [1, 6, 12], within: anotherOrder, webgpu: anotherOrder }, // prettier-ignore
  { title: 'LeNet-5 in NF4, as an archive', model: mnist('lenet-5'), schedule: 'nf4', dims: [1, 1, 28, 28], within: anotherOrder, webgpu: anotherOrder, archive: true }, // prettier-ignore
];

const size = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);
/** Images that are no noise alone: a bright square in a place of its own. */
const drawn = (dims: readonly number[], seed: number): Tensor => {
  const next = random(seed);
  const from = Math.floor(next() * 0.5 * size(dims));
  return floats(noise(seed, size(dims), 0.2).map((v, i) => Math.abs(v) + (i >= from && i < from + 0.3 * size(dims) ? 0.7 : 0)), [...dims]); // prettier-ignore
};
/** RGB of 32 × 32 pixels, and the same as the example's page hands it to a model. */
const picture = (seed: number): Uint8Array => Uint8Array.from(drawn([32, 32, 3], seed).data as Float32Array, (v) => Math.min(255, 200 * v)); // prettier-ignore
function normalized(pixels: Uint8Array): Tensor {
  const [mean, std] = [[0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616]]; // prettier-ignore
  const planes = [0, 1, 2].flatMap((c) => Array.from({ length: 1024 }, (_, i) => (pixels[3 * i + c]! / 255 - mean[c]!) / std[c]!)); // prettier-ignore
  return floats(Float32Array.from(planes), [1, 3, 32, 32]);
}

async function compressed({ model: before, schedule, target }: Pick<Case, 'model' | 'schedule' | 'target'>, data: SampleGiven[]) {
  const { model, report } = await compress({ model: before, schedule, target, data, measure: false, latency: false });
  expect(report.result.stages.length).toBeGreaterThan(0);
  return model;
} // prettier-ignore
const packed = async (model: Uint8Array): Promise<Uint8Array> =>
  (await packModel(model, { open: () => Promise.reject(new Error('no external data')) })).archive;

/** Largest distance of outputs, as a share of the largest value of each. */
function farthest(found: Record<string, Answer>, wanted: Feeds): number {
  expect(Object.keys(found)).toEqual(Object.keys(wanted));
  return Math.max(
    ...Object.entries(wanted).map(([name, { dims, data }]) => {
      const other = found[name]!;
      expect([other.type, other.dims]).toEqual(['float32', dims]);
      const values = Array.from(data as Float32Array);
      const largest = Math.max(...values.map(Math.abs));
      expect(largest).toBeGreaterThan(0);
      return Math.max(...values.map((v, i) => Math.abs(v - Number(other.data[i])))) / largest;
    }),
  );
}

describe(`onnxruntime-web in Chromium${where}`, () => {
  let folder: string;
  let chromium: Chromium | undefined;
  const made = new Map<Case, { address: string; feeds: Feeds[]; answers: Feeds[] }>();
  let onPage: Feeds;

  beforeAll(async () => {
    if (executable === undefined) return;
    folder = mkdtempSync(join(tmpdir(), 'qtool-chromium-'));
    const bundle = fileURLToPath(new URL('../../scripts/bundle.mjs', import.meta.url));
    expect(spawnSync(process.execPath, [bundle, join(folder, 'cli')], { encoding: 'utf8' })).toMatchObject({
      status: 0,
    });
    const files: Record<string, string | Uint8Array> = {};
    for (const [i, one] of cases.entries()) {
      const name = typeof one.model === 'string' ? 'input' : 'x';
      const samples = Array.from({ length: 8 }, (_, k) => ({ feeds: { [name]: drawn(one.dims, 100 + k) } }));
      const model = await compressed(one, samples);
      const address = `/${i}.onnx`;
      files[address] = one.archive ? await packed(model) : model;
      made.set(one, { address, ...(await answered(model, samples.slice(0, 3))) });
    }
    const samples = Array.from({ length: 8 }, (_, k) => ({ feeds: { input: normalized(picture(k)) } }));
    const model = await compressed({ model: encodeModel(imageNet()), schedule: 'int8-no-vnni' }, samples);
    [onPage] = (await answered(model, samples.slice(0, 1))).answers as [Feeds];
    files['/reader.js'] = join(folder, 'reader.js');
    chromium = await openChromium({ ...example(await packed(model)), ...files }, { executable, webgpu: true });
  }, 400_000);
  afterAll(async () => {
    await chromium?.close();
    if (folder) rmSync(folder, { recursive: true, force: true });
  });

  inChromium.each(cases)(
    'gives in WebAssembly what onnxruntime-node does: $title',
    async (one) => {
      const { address, feeds, answers } = made.get(one)!;
      await chromium!.load(address, { archive: one.archive ?? false });
      for (const [i, fed] of feeds.entries())
        expect(farthest(await chromium!.run(address, plain(fed)), answers[i]!)).toBeLessThanOrEqual(one.within);
    },
    240_000,
  );

  // SwiftShader stands in for a graphics card where Chromium has it: its compiling takes most of the time.
  inChromium.each(cases.filter(({ webgpu }) => webgpu !== undefined))('gives in WebGPU, where there is an adapter, what onnxruntime-node does: $title', async (one) => {
    if (!(await chromium!.adapter())) return console.log('skipped: this Chromium has no WebGPU adapter');
    const { address, feeds, answers } = made.get(one)!;
    await chromium!.load(address, { provider: 'webgpu', archive: one.archive ?? false });
    for (const [i, fed] of feeds.entries())
      expect(farthest(await chromium!.run(address, plain(fed)), answers[i]!)).toBeLessThanOrEqual(one.webgpu!);
  }, 240_000); // prettier-ignore

  inChromium('shows on the page of examples/browser the shares that onnxruntime-node gives a picture, of a model in an archive', async () => {
    const { page } = chromium!;
    await page.waitForSelector('#image:enabled');
    const buffer = await sharp(picture(0), { raw: { width: 32, height: 32, channels: 3 } }).png().toBuffer();
    await page.setInputFiles('#image', { name: 'picture.png', mimeType: 'image/png', buffer });
    await page.waitForSelector('#classes tr');
    const shown = await page.evaluate('[...document.querySelectorAll("#classes tr")].map((row) => [...row.cells].slice(0, 2).map((cell) => cell.innerText))'); // prettier-ignore
    const powers = Array.from(onPage['scores']!.data as Float32Array, Math.exp);
    const sum = powers.reduce((a, b) => a + b, 0);
    const names = ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'];
    const wanted = powers.map((power, i) => ({ name: names[i], share: power / sum })).sort((a, b) => b.share - a.share);
    expect(shown).toEqual(wanted.map(({ name, share }) => [name, `${(100 * share).toFixed(2)} %`]));
  }, 240_000); // prettier-ignore
});

/** Samples as feeds, and what onnxruntime-node answers to them. */
async function answered(model: Uint8Array, samples: readonly SampleGiven[]) {
  const session = await openSession(decodeModel(model), { threads: 1, config: { [exactProducts]: '1' } });
  const feeds = samples.map((sample) => sample.feeds as Feeds);
  const answers: Feeds[] = [];
  for (const fed of feeds) answers.push(await session.run(fed));
  await session.close();
  return { feeds, answers };
}
