import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { batches } from '../../src/data/batch.ts';
import { parseDataConfig, type DataConfig } from '../../src/data/config.ts';
import { openData } from '../../src/data/open.ts';
import type { Dataset } from '../../src/data/types.ts';
import * as fixtures from './fixtures.ts';
import { all, base64, failure, floatInput, numbers, png, samplesOf, temporaryFolder } from './support.ts';

const folder = temporaryFolder();
// Images are fed as they are where a test says nothing else.
const config = (text: string): DataConfig =>
  parseDataConfig(`${text}${/image-folder|manifest/.test(text) && !text.includes('transforms') ? '\ntransforms: { scale: 1 }' : ''}`, `${folder.path}/d.yaml`); // prettier-ignore
const image = [floatInput('x', 'N', 3, 2, 2)];
const ids = async (dataset: Dataset): Promise<string[]> => (await samplesOf(dataset)).map(({ id }) => id);

// 3 classes of 20 images: colour (class, number, 0).
beforeAll(async () => {
  for (const [label, name] of ['ant', 'bee', 'cat'].entries())
    for (let i = 0; i < 20; i++) folder.write(`images/${name}/${i}.png`, await png(2, 2, [label, i, 0]));
  mkdirSync(`${folder.path}/none`);
});

describe('an image folder', () => {
  it('labels classes in alphabetical order', async () => {
    const { validation } = await openData(config('data: { kind: image-folder, path: images }'), image, {
      part: 'validation',
    });
    expect(validation.info).toMatchObject({ kind: 'image-folder', samples: 60, labelled: true });
    const samples = await samplesOf(validation);
    expect(samples).toHaveLength(60);
    for (const sample of samples) {
      const [red, , , , green] = numbers(sample, 'x');
      expect(sample.target!.label).toEqual(Int32Array.of(red!));
      expect(sample.id).toBe(`${folder.path}/images/${['ant', 'bee', 'cat'][red!]}/${green}.png`);
    }
  });

  it('takes classes in the order of a list, and says which is not in it', async () => {
    const text = (classes: string) =>
      `data: { kind: image-folder, path: images, classes: [${classes}], shuffle: false }`;
    const { validation } = await openData(config(text('cat, bee, ant, dog')), image, { part: 'validation' });
    const [first] = await samplesOf(validation, 1);
    expect([numbers(first, 'x')[0], first!.target!.label![0]]).toEqual([0, 2]);
    expect(await failure(() => openData(config(text('ant, beee, cat')), image))).toMatch(/d\.yaml:1:52 the folder "bee" is not in `classes` \(did you mean "beee"\?\)/); // prettier-ignore
  });

  it('keeps the order of the files where shuffle is off', async () => {
    const { validation } = await openData(config('data: { kind: image-folder, path: images, shuffle: false }'), image, { part: 'validation' }); // prettier-ignore
    const list = await ids(validation);
    expect(list).toEqual([...list].sort());
  });

  it('reads the same into arrays that it uses again, where that is asked for', async () => {
    const { validation } = await openData(config('data: { kind: image-folder, path: images }'), image, { part: 'validation' }); // prettier-ignore
    const wanted = (await samplesOf(validation)).map((sample) => numbers(sample, 'x'));
    const places = new Set<unknown>();
    let at = 0;
    for await (const sample of validation.samples(undefined, true)) {
      expect(numbers(sample, 'x')).toEqual(wanted[at++]);
      places.add(sample.feeds['x']!.data);
    }
    expect(at).toBe(60);
    expect(places.size).toBeLessThan(10);
  });

  it('follows links to folders, round no circle', async () => {
    symlinkSync(join(folder.path, 'images'), join(folder.path, 'linked'));
    folder.write('through/x', '');
    for (const name of ['ant', 'bee'])
      symlinkSync(join(folder.path, 'images', name), join(folder.path, 'through', name));
    symlinkSync(join(folder.path, 'through'), join(folder.path, 'through', 'again'));
    const count = async (path: string) => {
      const { validation } = await openData(config(`data: { kind: image-folder, path: ${path} }`), image, { part: 'validation' }); // prettier-ignore
      return (await samplesOf(validation)).length;
    };
    expect([await count('linked'), await count('through')]).toEqual([60, 40]);
  });

  it('names the channels where it is they that differ', async () => {
    const data = 'data: { kind: image-folder, path: images }\ntransforms: { scale: 1/255, color: RGB }';
    const told = await failure(() => openData(config(data), [floatInput('x', 'N', 1, 2, 2)]));
    expect(told).toMatch(/Set transforms\.color to grey, with one number for mean and for std\./);
  });

  it('says what is wrong', async () => {
    expect(await failure(() => openData(config('data: { kind: image-folder, path: imges }'), image))).toMatch(/d\.yaml:1:35 "imges" does not exist: there is no "imges" in .* \(did you mean "images"\?\)/); // prettier-ignore
    expect(await failure(() => openData(config('data: { kind: image-folder, path: none }'), image))).toMatch(/none holds no images/); // prettier-ignore
    folder.write('arrays/test.npz', new Uint8Array(1));
    folder.write('arrays/README', new Uint8Array(1));
    expect(await failure(() => openData(config('data: { kind: image-folder, path: arrays }'), image))).toMatch(/arrays holds no images.*It holds 2 other files: give the file itself, \S*arrays.test\.npz/s); // prettier-ignore
    expect(await failure(() => openData(config('data: { kind: image-folder, path: images }'), image, { classes: 2 }))).toMatch(/has 3 class folders, the model tells 2 classes apart/); // prettier-ignore
    folder.write('loose/a/1.png', await png(2, 2, [0, 0, 0]));
    folder.write('loose/2.png', await png(2, 2, [0, 0, 0]));
    expect(await failure(() => openData(config('data: { kind: image-folder, path: loose }'), image))).toMatch(/"2\.png" lies beside class folders/); // prettier-ignore
  });

  it('names the image that does not decode when its turn comes', async () => {
    folder.write('broken/a/1.png', await png(2, 2, [0, 0, 0]));
    folder.write('broken/a/2.png', 'no image');
    const { validation } = await openData(config('data: { kind: image-folder, path: broken, shuffle: false }'), image, { part: 'validation' }); // prettier-ignore
    const found: string[] = [];
    const run = async () => {
      for await (const sample of validation.samples()) found.push(sample.id);
    };
    expect(await failure(run)).toMatch(/broken\/a\/2\.png the image does not decode/);
    expect(found).toHaveLength(1);
  });
});

describe('one set for both', () => {
  const text = 'data: { kind: image-folder, path: images }';

  it('is split without overlap, over all classes, and the notes say so', async () => {
    const { calibration, validation, notes } = await openData(config(text), image);
    expect([calibration.info.samples, validation.info.samples]).toEqual([12, 48]);
    expect(notes).toEqual([expect.stringMatching(/one set was given: 12 of its 60 samples, chosen by seed 0, are for calibration, the other 48/)]); // prettier-ignore
    const [first, second] = [await ids(calibration), await ids(validation)];
    expect(new Set([...first, ...second]).size).toBe(60);
    expect(new Set(first.map((id) => id.split('/').at(-2)))).toEqual(new Set(['ant', 'bee', 'cat']));
  });

  it('is the same for the same seed, and another for another', async () => {
    const take = async (seed: number) => ids((await openData(config(text), image, { seed })).calibration);
    expect(await take(1)).toEqual(await take(1));
    expect(new Set(await take(1))).not.toEqual(new Set(await take(2)));
  });

  it('takes a share, a number, and limits', async () => {
    const sizes = async (more: string, options = {}) => {
      const { calibration, validation } = await openData(config(`${text}\n${more}`), image, options);
      const counts = [(await ids(calibration)).length, (await ids(validation)).length];
      expect([calibration.info.samples, validation.info.samples]).toEqual(counts);
      return counts;
    };
    expect(await sizes('split: { calibration: 0.5 }')).toEqual([30, 30]);
    expect(await sizes('split: { calibration: 7 }')).toEqual([7, 53]);
    expect(await sizes('', { calibrationSamples: 5, validationSamples: 9 })).toEqual([5, 9]);
    expect(await failure(() => sizes('split: { calibration: 60 }'))).toMatch(/60 samples cannot be split into 60/);
    const part = await openData(
      config('data: { kind: image-folder, path: images, samples: 10, shuffle: false }'),
      image,
    );
    expect(new Set([...(await ids(part.calibration)), ...(await ids(part.validation))]).size).toBe(10);
    expect((await ids(part.validation)).every((id) => id.includes('/ant/'))).toBe(true);
  });

  it('is not split for validation alone', async () => {
    const { calibration, validation, notes } = await openData(config(text), image, { part: 'validation' });
    expect([calibration.info.samples, validation.info.samples, notes]).toEqual([0, 60, []]);
    expect(await ids(calibration)).toEqual([]);
  });
});

describe('two sets', () => {
  it('lose from calibration what stands in both', async () => {
    folder.write('list.csv', 'file,label\nimages/ant/0.png,0\nimages/bee/3.png,1\n');
    const both = await openData(
      config('calibration: { kind: image-folder, path: images }\nvalidation: { kind: manifest, path: list.csv }'),
      image,
    );
    expect([both.calibration.info.samples, both.validation.info.samples]).toEqual([58, 2]);
    expect(both.notes).toEqual(['2 samples stand in both sets: they were taken out of calibration']);
    const used = new Set(await ids(both.validation));
    expect((await ids(both.calibration)).filter((id) => used.has(id))).toEqual([]);
    const same = 'calibration: { kind: image-folder, path: images }\nvalidation: { kind: image-folder, path: images }';
    expect(await failure(() => openData(config(same), image))).toMatch(
      /the same samples \(Give the set once, as `data`/,
    );
  });

  it('spread calibration over the classes however few are taken', async () => {
    folder.write('val.csv', 'file,label\nimages/ant/0.png,0\n');
    const { calibration } = await openData(
      config('calibration: { kind: image-folder, path: images }\nvalidation: { kind: manifest, path: val.csv }'),
      image,
      { calibrationSamples: 9 },
    );
    const classes = (await ids(calibration)).map((id) => id.split('/').at(-2));
    expect([classes.length, new Set(classes).size]).toEqual([9, 3]);
  });
});

describe('a manifest', () => {
  const open = (text: string, classes?: number) => openData(config(text), image, { part: 'validation', classes });

  it('reads CSV, TSV and JSON lines, with indexes and names', async () => {
    folder.write('m.csv', 'name,class\nbee/1.png,bee\nant/2.png,ant\n');
    folder.write('m.tsv', 'file\tlabel\nimages/cat/5.png\t2\n');
    folder.write(
      'm.jsonl',
      '{"file": "images/cat/5.png", "label": 2}\n\n{"file": "images/ant/5.png", "label": [0, -1]}\n',
    );
    const csv = 'data: { kind: manifest, path: m.csv, images: images, file_column: name, label_column: class, classes: [ant, bee], shuffle: false }'; // prettier-ignore
    const labels = async (text: string) => (await samplesOf((await open(text)).validation)).map(({ target }) => [...target!.label!]); // prettier-ignore
    expect(await labels(csv)).toEqual([[1], [0]]);
    expect(await labels('data: { kind: manifest, path: m.tsv }')).toEqual([[2]]);
    expect(await labels('data: { kind: manifest, path: m.jsonl, shuffle: false }')).toEqual([[2], [0, -1]]);
  });

  it('goes without labels', async () => {
    folder.write('plain.csv', 'file\nimages/ant/1.png\n');
    const { validation } = await open('data: { kind: manifest, path: plain.csv }');
    expect(validation.info.labelled).toBe(false);
    expect((await samplesOf(validation))[0]!.target).toBeUndefined();
  });

  it.each([
    ['file,label\nimages/ant/1.png,3\n', /bad\.csv:2 label 3 is out of range: the model has the classes 0 to 2/],
    ['file,label\nimages/ant/1.png,0\nimages/ant/99.png,0\n', /bad\.csv:3 "images\/ant\/99\.png" is not in/],
    ['file,label\nimages/ant/1.png,ant\n', /bad\.csv:2 the label "ant" is not a class index \(Name the classes/],
    ['file,label\nimages/ant/1.png,\n', /bad\.csv:2 has no label/],
    ['file,label\n,1\n', /bad\.csv:2 has no file/],
    ['file,label\na,b,c\n', /bad\.csv:2 is not a table: .*/],
    ['fil,label\nimages/ant/1.png,0\n', /there is no column "file" \(did you mean "fil"\?\); there are fil, label/],
    ['', /bad\.csv lists no images/],
  ])('says what is wrong with %j', async (text, expected) => {
    folder.write('bad.csv', text);
    expect(await failure(() => open('data: { kind: manifest, path: bad.csv }', 3))).toMatch(expected);
  });

  it('says which line is not JSON', async () => {
    folder.write('bad.jsonl', '{"file": "images/ant/1.png"}\n{file}\n');
    expect(await failure(() => open('data: { kind: manifest, path: bad.jsonl }'))).toMatch(/bad\.jsonl:2 is not JSON/);
  });
});

describe('arrays', () => {
  const idx = (dims: number[], bytes: Iterable<number>): Uint8Array =>
    Uint8Array.of(0, 0, 8, dims.length, ...dims.flatMap((d) => [0, 0, 0, d]), ...bytes);

  beforeAll(() => {
    folder.write(
      'x.idx',
      idx(
        [5, 2, 2],
        Array.from({ length: 20 }, (_, i) => i),
      ),
    );
    folder.write('y.idx', idx([5], [0, 1, 2, 0, 1]));
    folder.write('z.npz', base64(fixtures.npzStored));
  });

  it('feeds IDX images and labels, as images or flat', async () => {
    const text = 'data: { kind: idx, path: x.idx, labels: y.idx, shuffle: false }\ntransforms: { scale: 0.5 }';
    const first = async (...dims: (number | string)[]) => {
      const { validation } = await openData(config(text), [floatInput('x', ...dims)], {
        part: 'validation',
        classes: 3,
      });
      return (await samplesOf(validation))[1]!;
    };
    expect(await first('N', 1, 2, 2)).toMatchObject({
      feeds: { x: { type: 'float32', dims: [1, 1, 2, 2], data: Float32Array.of(2, 2.5, 3, 3.5) } },
      target: { label: Int32Array.of(1) },
    });
    expect((await first('N', 4)).feeds['x']!.dims).toEqual([1, 4]);
  });

  it('says which labels are wrong', async () => {
    const text = 'data: { kind: idx, path: x.idx, labels: y.idx }';
    expect(await failure(() => openData(config(text), [floatInput('x', 'N', 4)], { classes: 2 }))).toMatch(/y\.idx, sample 2 label 2 is out of range: the model has the classes 0 to 1/); // prettier-ignore
    folder.write('short.idx', idx([4], [0, 1, 2, 0]));
    expect(await failure(() => openData(config(text.replace('y.idx', 'short.idx')), [floatInput('x', 'N', 4)]))).toMatch(/short\.idx has 4 samples, .*x\.idx has 5/); // prettier-ignore
  });

  it('feeds several inputs of an archive by name, cast to their types', async () => {
    const text =
      'data: { kind: npy, path: z.npz, inputs: { a: x, b: { array: labels } }, labels: labels, shuffle: false }';
    const inputs = [floatInput('a', 'N', 2), { name: 'b', type: 'int32', dims: ['N'] } as const];
    const { validation } = await openData(config(text), inputs, { part: 'validation' });
    const [batch] = await all(batches(validation, { batchSize: 8 }));
    expect(batch!.feeds).toEqual({
      a: { type: 'float32', dims: [3, 2], data: Float32Array.of(0, 1, 2, 3, 4, 5) },
      b: { type: 'int32', dims: [3], data: Int32Array.of(0, 1, 2) },
    });
    expect(batch!.targets.map((t) => t!.label![0])).toEqual([0, 1, 2]);
  });

  it('finds arrays named like the inputs, and labels, and says so', async () => {
    const { validation } = await openData(config('data: { kind: npy, path: z.npz }'), [floatInput('x', 'N', 2)]);
    expect(validation.info).toMatchObject({ labelled: true, notes: ['the array "labels" is taken as the labels'] });
  });

  it.each([
    ['data: { kind: npy, path: z.npz, inputs: { a: xx } }', /d\.yaml:1:46 z\.npz has no array "xx".*it has x, labels/],
    [
      'data: { kind: npy, path: z.npz, inputs: { aa: x } }',
      /d\.yaml:1:47 the model has no input "aa" \(did you mean "a"\?\)/,
    ],
    [
      'data: { kind: npy, path: z.npz, inputs: { a: x }, labels: lables }',
      /no array "lables" \(did you mean "labels"\?\)/,
    ],
    ['data: { kind: idx, path: x.idx, input: b }', /the model has no input "b"; it has a/],
  ])('says what is wrong with %s', async (text, expected) => {
    expect(await failure(() => openData(config(text), [floatInput('a', 'N', 2)]))).toMatch(expected);
  });

  it('refuses floats for an integer input', async () => {
    const inputs = [{ name: 'a', type: 'int64', dims: ['N', 4] } as const];
    const half = folder.write('half.npy', base64(fixtures.npyHalf));
    const open = () => openData(config(`validation: { kind: npy, path: ${half} }`), inputs, { part: 'validation' });
    expect(await failure(open)).toMatch(/half\.npy#\d holds .*, which int64 cannot hold/);
  });
});

describe('what does not fit the model', () => {
  const open = async (text: string, ...inputs: Parameters<typeof openData>[1]) =>
    samplesOf((await openData(config(text), inputs, { part: 'validation' })).validation, 1);
  const images = 'data: { kind: image-folder, path: images }';

  it('is said with the shape, the type, or the input that is missing', async () => {
    expect(await failure(() => open(images, floatInput('x', 'N', 3, 4, 4)))).toMatch(/\.png the data has the shape \[1, 3, 2, 2\], the model input "x" wants \[N, 3, 4, 4\] \(Set transforms\.resize or center_crop to \[4, 4\]/); // prettier-ignore
    expect(await failure(() => open(`${images}\ntransforms: { layout: NHWC }`, floatInput('x', 'N', 3, 2, 2)))).toMatch(/Give --layout NCHW, or transforms\.layout in a data config/); // prettier-ignore
    expect(await failure(() => open(`${images}\ntransforms: { dtype: uint8 }`, floatInput('x', 'N', 3, 2, 2)))).toMatch(/the data is uint8, the model input "x" wants float32/); // prettier-ignore
    expect(await failure(() => open(images, floatInput('x', 'N', 3, 2, 2), floatInput('y', 'N')))).toMatch(/the model has 2 inputs \(x, y\), this data feeds one/); // prettier-ignore
    const one = 'data: { kind: npy, path: z.npz, inputs: { a: x } }';
    expect(await failure(() => open(one, floatInput('a', 'N', 2), floatInput('b', 'N')))).toMatch(/nothing for the model input "b" \(it feeds a\)/); // prettier-ignore
  });
});

describe('data without a config', () => {
  it('shows its kind by its path', async () => {
    const guess = async (path: string, ...inputs: Parameters<typeof openData>[1]) =>
      openData(path, inputs, { part: 'validation' });
    expect((await guess(`${folder.path}/z.npz`, floatInput('x', 'N', 2))).validation.info.kind).toBe('npy');
    expect((await guess('mnist', floatInput('x', 'N', 1, 28, 28))).validation.info.samples).toBe(10_000);
  });

  it('says what cannot be opened', async () => {
    expect(await failure(() => openData('cifar-10', image))).toMatch(/"cifar-10" does not exist \(did you mean "cifar10"\?\) \(Give a data config/); // prettier-ignore
    expect(await failure(() => openData('none.yaml', image))).toMatch(/the data config "none\.yaml" does not exist/);
    const odd = folder.write('odd.bin', 'x');
    expect(await failure(() => openData(odd, image))).toMatch(/what kind of data this is does not show/);
  });
});
