import { batches } from '../../src/data/batch.ts';
import { augmentSchema, beta, chanceFor, type Augment } from '../../src/data/augment.ts';
import { parseDataConfig, type DataConfig } from '../../src/data/config.ts';
import { memoryConfig } from '../../src/data/memory.ts';
import { openData, type OpenOptions } from '../../src/data/open.ts';
import { dealt, epochOrder } from '../../src/data/order.ts';
import type { Sample, TrainingSet } from '../../src/data/types.ts';
import fc from '../helpers/fc.ts';
import { seedOf } from '../../src/util/uniform.ts';
import { all, failure, floatInput, numbers, samplesOf, temporaryFolder } from './support.ts';
import * as fixtures from './fixtures.ts';
import { gunzipSync } from 'node:zlib';

const folder = temporaryFolder();
const config = (text: string): DataConfig => parseDataConfig(text, `${folder.path}/d.yaml`);
const image = [floatInput('x', 'N', 3, 4, 4)];
const plain = 'transforms: { scale: 1 }';

const open = async (text: string, options: OpenOptions = {}, inputs = image) =>
  openData(config(`${text}\n${plain}`), inputs, { training: true, ...options });
const trainingOf = async (text: string, options: OpenOptions = {}, inputs = image): Promise<TrainingSet> =>
  (await open(text, options, inputs)).training!;
const epochOf = (set: TrainingSet, epoch: number, augment?: Augment, limit?: number): Promise<Sample[]> =>
  samplesOf(set.epoch(epoch, { seed: 7, augment }), limit);
const ids = (samples: readonly Sample[]): string[] => samples.map(({ id }) => id);

// 30 images of pixels (place, number, class) in two classes; 12 others to be judged on.
const bytesOf = (i: number): Uint8Array => Uint8Array.from({ length: 48 }, (_, at) => (at % 3 === 0 ? at : at % 3 === 1 ? i : i % 2) + 1); // prettier-ignore
beforeAll(async () => {
  const { default: sharp } = await import('sharp');
  for (let i = 0; i < 42; i++) {
    const raw = { width: 4, height: 4, channels: 3 } as const;
    const file = await sharp(bytesOf(i), { raw }).png().toBuffer();
    folder.write(`${i < 30 ? 'train' : 'test'}/${i % 2}/${i}.png`, file);
  }
  const lines = (from: number, to: number, of: string): string =>
    Array.from({ length: to - from }, (_, i) => `${of}/${(from + i) % 2}/${from + i}.png,${(from + i) % 2}`).join('\n');
  folder.write('mixed.csv', `file,label\n${lines(0, 30, 'train')}\n${lines(30, 36, 'test')}\n`);
  const idx = (dims: number[], bytes: Uint8Array): Uint8Array =>
    Uint8Array.of(0, 0, 8, dims.length, ...dims.flatMap((d) => [0, 0, 0, d]), ...bytes);
  folder.write(
    'x.idx',
    idx(
      [9, 4, 4],
      Uint8Array.from({ length: 144 }, (_, i) => i + 1),
    ),
  );
  folder.write(
    'y.idx',
    idx(
      [9],
      Uint8Array.from({ length: 9 }, (_, i) => i % 2),
    ),
  );
  folder.write('p.parquet', gunzipSync(Buffer.from(fixtures.parquetImagesGz, 'base64')));
});

const train = 'training: { kind: image-folder, path: train }';
const test = 'validation: { kind: image-folder, path: test }';

describe('a training set', () => {
  it('gives every sample once an epoch, in another order each', async () => {
    const set = await trainingOf(`${train}\n${test}`);
    expect(set.info).toMatchObject({ samples: 30, labelled: true });
    const orders = await Promise.all([0, 1, 2].map(async (epoch) => ids(await epochOf(set, epoch))));
    for (const order of orders) expect(new Set(order).size).toBe(30);
    expect(new Set(orders.map(String)).size).toBe(3);
    expect(ids(await samplesOf(set.epoch(0, { seed: 8 })))).not.toEqual(orders[0]);
  });

  it('gives the same bits for the same arguments, whatever was read before, and the first ones of them', async () => {
    const augment: Augment = { random_crop: { padding: 2 }, horizontal_flip: true, color_jitter: { brightness: 0.4, contrast: 0.4, saturation: 0.4 }, random_erasing: {}, mixup: {} }; // prettier-ignore
    const text = `${train}\n${test}`;
    const [one, other] = [await trainingOf(text), await trainingOf(text)];
    await epochOf(other, 0, augment);
    await epochOf(other, 2, undefined, 3);
    const wanted = await epochOf(one, 3, augment);
    expect(await epochOf(other, 3, augment)).toEqual(wanted);
    expect(await epochOf(other, 3, augment, 5)).toEqual(wanted.slice(0, 5));
    expect(await epochOf(other, 4, augment)).not.toEqual(wanted);
    const again = await all(batches(other.epoch(3, { seed: 7, augment }), { batchSize: 30, reuse: true }));
    expect(again[0]!.ids).toEqual(ids(wanted));
    expect(Array.from(again[0]!.feeds['x']!.data as Float32Array)).toEqual(wanted.flatMap((sample) => numbers(sample, 'x'))); // prettier-ignore
  });

  it('changes a sample by its number, not by its place', async () => {
    const augment: Augment = { random_crop: { padding: 4 }, horizontal_flip: 0.5 };
    const read = async (more: string): Promise<Map<string, number[]>> => {
      const set = await trainingOf(`training: { kind: image-folder, path: train${more} }\n${test}`);
      return new Map((await epochOf(set, 0, augment)).map((sample) => [sample.id, numbers(sample, 'x')]));
    };
    const [mixed, straight] = [await read(''), await read(', shuffle: false')];
    expect([...straight.keys()]).toEqual([...straight.keys()].sort());
    expect([...mixed.keys()]).not.toEqual([...straight.keys()]);
    expect(new Map([...mixed].sort())).toEqual(new Map([...straight].sort()));
  });

  it('holds no sample that the model is judged on, and says how many were taken out', async () => {
    const { training, validation, calibration, notes } = await open(`training: { kind: manifest, path: mixed.csv }\n${test}`); // prettier-ignore
    const judged = new Set(ids(await samplesOf(validation)));
    const trained = ids(await epochOf(training!, 0));
    expect([judged.size, trained.length]).toEqual([12, 30]);
    expect(trained.filter((id) => judged.has(id))).toEqual([]);
    expect(notes).toEqual([
      'no calibration set is given: it is 30 samples of training, chosen by seed 0',
      '6 samples stand in validation too: they were taken out of training',
    ]);
    expect(new Set(ids(await samplesOf(calibration)))).toEqual(new Set(trained));
    expect(await failure(() => open(`training: { kind: image-folder, path: test }\n${test}`))).toMatch(
      /test training and validation are the same samples \(Give the set once, as `data`/,
    );
  });

  it('holds no sample of the judged part of a set that is split, looked at or not', async () => {
    const { training, validation } = await open(`training: { kind: manifest, path: mixed.csv }\ndata: { kind: image-folder, path: test }`, { validationSamples: 1 }); // prettier-ignore
    const whole = await open('data: { kind: image-folder, path: test }');
    const judged = new Set(ids(await samplesOf(whole.validation)));
    expect(judged.has(ids(await samplesOf(validation))[0]!)).toBe(true);
    const trained = ids(await epochOf(training!, 0));
    expect(trained.filter((id) => judged.has(id))).toEqual([]);
    expect(trained.length).toBeGreaterThanOrEqual(30);
  });

  it('is opened only where it is asked for', async () => {
    const text = `training: { kind: image-folder, path: nowhere }\ncalibration: { kind: image-folder, path: train }\n${test}`; // prettier-ignore
    const without = await open(text, { training: false });
    expect(without.training).toBeUndefined();
    expect(await failure(() => open(text))).toMatch(/d\.yaml:1:39 "nowhere" does not exist/);
    expect((await open(test)).training).toBeUndefined();
  });

  it('leaves all of validation for validation where it gives calibration, asked for or not', async () => {
    for (const training of [true, false]) {
      const sets = await open(`${train}\n${test}`, { training, calibrationSamples: 10 });
      expect([sets.validation.info.samples, sets.calibration.info.samples]).toEqual([12, 10]);
    }
  });

  it('takes at most so many samples, the same in every epoch', async () => {
    const { training, calibration } = await open(`training: { kind: image-folder, path: train, samples: 9 }\n${test}`);
    const [first, second] = [ids(await epochOf(training!, 0)), ids(await epochOf(training!, 1))];
    expect(first).toHaveLength(9);
    expect(second).not.toEqual(first);
    expect(new Set(second)).toEqual(new Set(first));
    expect(new Set(ids(await samplesOf(calibration)))).toEqual(new Set(first));
  });

  it('is split off one set, apart from the others, and eval judges none of it', async () => {
    const text = 'data: { kind: image-folder, path: train }\nsplit: { calibration: 4, training: 0.5 }';
    const { training, calibration, validation, notes } = await open(text);
    expect(notes[0]).toMatch(/4 of its 30 samples, chosen by seed 0, are for calibration, 15 for training, the other 11 for validation/); // prettier-ignore
    const [a, b, c] = [await samplesOf(calibration), await epochOf(training!, 0), await samplesOf(validation)].map(ids);
    expect([a!.length, b!.length, c!.length, new Set([...a!, ...b!, ...c!]).size]).toEqual([4, 15, 11, 30]);
    const alone = await open(text, { part: 'validation', training: false });
    expect(new Set(ids(await samplesOf(alone.validation)))).toEqual(new Set(c));
    expect(await failure(() => open(text.replace('0.5', '26')))).toMatch(/30 samples cannot be split into 4 for calibration, 26 for training and some/); // prettier-ignore
  });

  it('joins several sources and mixes them, Parquet block by block', async () => {
    const parquet = [floatInput('x', 'N', 3, 'H', 'W')];
    const set = await trainingOf(`training: [{ kind: image-folder, path: train, samples: 20 }, { kind: parquet, path: p.parquet }]\n${test}`, {}, parquet); // prettier-ignore
    expect(set.info.samples).toBe(25);
    const read = ids(await epochOf(set, 0));
    expect(new Set(read).size).toBe(25);
    const places = read.flatMap((id, i) => (id.includes('parquet') ? [i] : []));
    expect(places).toHaveLength(5);
    expect(places.at(-1)! - places[0]!).toBeGreaterThan(5);
    const labels = new Map((await epochOf(set, 1)).map(({ id, target }) => [id, target!.label![0]]));
    for (const [id, label] of labels) if (!id.includes('parquet')) expect(label).toBe(Number(id.split('/').at(-2)));
  });
});

describe('the order of an epoch', () => {
  it('is a permutation that goes block by block, two at a time', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 8 }),
        fc.integer(),
        (sizes, seed) => {
          const starts = sizes.map((_, i) => sizes.slice(0, i).reduce((a, b) => a + b, 0));
          const total = sizes.reduce((a, b) => a + b, 0);
          // Every third is not of the set.
          const indexes = Uint32Array.from({ length: total }, (_, i) => i).filter((i) => i % 3 !== 2);
          const order = epochOrder(indexes, starts, seed);
          expect(order.slice().sort()).toEqual(indexes);
          const blockOf = (index: number): number => starts.findLastIndex((start) => start <= index);
          const held = new Set<number>();
          const left = new Set<number>();
          for (const index of order) {
            const block = blockOf(index);
            expect(left.has(block)).toBe(false);
            held.add(block);
            if (held.size > 2) for (const one of held) if (![...order.slice(order.indexOf(index))].some((i) => blockOf(i) === one)) { held.delete(one); left.add(one); } // prettier-ignore
            expect(held.size).toBeLessThanOrEqual(2);
          }
        },
      ),
    );
  });

  it('is fair: each index comes at each place about as often', () => {
    const counts = new Float64Array(16);
    const rounds = 4000;
    for (let epoch = 0; epoch < rounds; epoch++)
      epochOrder(Uint32Array.of(0, 1, 2, 3), undefined, seedOf(1, epoch)).forEach(
        (index, at) => counts[index * 4 + at]!++,
      );
    // Chi-squared with 9 degrees of freedom: 27.9 is passed once in a thousand times.
    const chi = counts.reduce((sum, n) => sum + (n - rounds / 4) ** 2 / (rounds / 4), 0);
    expect(chi).toBeLessThan(27.9);
  });

  it('deals several into one, each in its own order', () => {
    const [a, b] = [Uint32Array.of(3, 1, 2), Uint32Array.of(9, 7, 8, 6)];
    const order = dealt([a, b], 5);
    expect(order.filter((i) => i < 5)).toEqual(a);
    expect(order.filter((i) => i > 5)).toEqual(b);
    expect(dealt([a, b], 6)).not.toEqual(order);
  });
});

describe('samples that come one after the other', () => {
  const sample = (i: number) => ({ feeds: { x: { dims: [1, 2], data: Float32Array.of(i, -i) } }, label: i % 2 });
  const openMemory = (count: number, length = 2) =>
    openData(
      memoryConfig({
        validation: [sample(-1)],
        calibration: [sample(-2)],
        training: function* () {
          for (let i = 0; i < count; i++) yield { ...sample(i), feeds: { x: { dims: [1, length], data: new Float32Array(length).fill(i) } } }; // prettier-ignore
        },
      }),
      [floatInput('x', 'N', 'T')],
      { training: true },
    );

  it('are mixed by a buffer of fixed size, every one once', async () => {
    const { training, notes } = await openMemory(3000);
    expect(notes[0]).toMatch(/cannot be told from others/);
    const read = async (epoch: number) => (await epochOf(training!, epoch)).map((one) => numbers(one, 'x')[0]!);
    const first = await read(0);
    expect(first.slice().sort((a, b) => a - b)).toEqual(Array.from({ length: 3000 }, (_, i) => i));
    // What comes out k-th has been read by then: no more than 1,024 are held.
    first.forEach((value, k) => expect(value).toBeLessThanOrEqual(k + 1024));
    expect(first.slice(0, 100).some((value) => value > 500)).toBe(true);
    expect(await read(0)).toEqual(first);
    expect(await read(1)).not.toEqual(first);
  });

  it('are held no more than 64 MiB of', async () => {
    // 16 MiB each: four of them.
    const { training } = await openMemory(12, 2 ** 22);
    let at = 0;
    for await (const one of training!.epoch(0, { seed: 1 }).samples()) expect((one.feeds['x']!.data as Float32Array)[0]).toBeLessThanOrEqual(4 + at++); // prettier-ignore
    expect(at).toBe(12);
  });
});

describe('mixup', () => {
  it('mixes pairs with one another: the mean stays, and answers say what was mixed', async () => {
    const set = await trainingOf(`${train}\n${test}`);
    const pure = new Map((await epochOf(set, 0)).map((sample) => [sample.id, sample]));
    const mixed = await epochOf(set, 0, { mixup: { alpha: 1 } });
    expect(ids(mixed)).toEqual([...pure.keys()]);
    let changed = 0;
    for (let i = 0; i < mixed.length; i += 2) {
      const pair = [mixed[i]!, mixed[i + 1]!].map((sample) => ({ sample, own: pure.get(sample.id)!, now: numbers(sample, 'x') })); // prettier-ignore
      for (const [k, { sample, own, now }] of pair.entries()) {
        const other = pair[1 - k]!.own;
        const { label, share } = sample.target!.mixed!;
        expect(sample.target!.label).toEqual(own.target!.label);
        expect(label).toEqual(other.target!.label);
        const [a, b] = [numbers(own, 'x'), numbers(other, 'x')];
        // Values up to 255 in 32-bit floats.
        now.forEach((value, at) => expect(value).toBeCloseTo((1 - share) * a[at]! + share * b[at]!, 4));
        if (share > 0.05) changed++;
      }
    }
    expect(changed).toBeGreaterThan(20);
  });

  it('leaves the last of an odd number alone', async () => {
    const set = await trainingOf(`training: { kind: image-folder, path: train, samples: 5 }\n${test}`);
    const mixed = await epochOf(set, 0, { mixup: {} });
    expect(mixed.map(({ target }) => target?.mixed !== undefined)).toEqual([true, true, true, true, false]);
  });

  it.each([0.2, 1, 3])('draws shares of Beta(%d, the same)', (alpha) => {
    const count = 4000;
    const shares = Array.from({ length: count }, (_, i) => beta(alpha, chanceFor('mix', i)));
    const mean = shares.reduce((a, b) => a + b) / count;
    const variance = shares.reduce((sum, x) => sum + (x - 0.5) ** 2, 0) / count;
    const wanted = 1 / (4 * (2 * alpha + 1));
    // Five standard errors of the mean; the variance of 4,000 is within a tenth.
    expect(Math.abs(mean - 0.5)).toBeLessThan(5 * Math.sqrt(wanted / count));
    expect(Math.abs(variance / wanted - 1)).toBeLessThan(0.1);
  });
});

describe('what augment is asked', () => {
  it.each([
    [{ random_crop: {}, resized_crop: {} }, /stands beside resized_crop/],
    [{ horizontal_flip: 2 }, /horizontal_flip/],
    [{ resized_crop: { scale: [0.9, 0.1] } }, /must not be above/],
    [{ mixup: { alpha: 0 } }, /alpha/],
    [{ colour_jitter: {} }, /colour_jitter/],
  ])('refuses %j', (given, expected) => {
    expect(augmentSchema.safeParse(given).error?.message ?? '').toMatch(expected);
  });

  it('takes what the documentation shows', () => {
    expect(augmentSchema.parse({ random_crop: { padding: 4 }, horizontal_flip: true, mixup: {} })).toEqual({ random_crop: { padding: 4 }, horizontal_flip: true, mixup: {} }); // prettier-ignore
  });
});
