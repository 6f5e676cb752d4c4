import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as z from 'zod';
import { dataConfigSchema, metricConfigs, parseDataConfig } from '../../src/data/config.ts';
import { failure } from './support.ts';

const parse = (text: string) => parseDataConfig(text, 'd.yaml');

describe('parseDataConfig', () => {
  it('reads sources, transforms and metrics', () => {
    const config = parse(`
version: 1
root: ../data
calibration: { kind: image-folder, path: train, samples: 100 }
validation: { kind: manifest, path: val.csv, transforms: { center_crop: [224, 224] } }
transforms: { resize: 256, scale: 1/255, mean: [0.5, 0.5, 0.5] }
metric: [top1, { name: top5, output: logits }]
batch_size: 8
`);
    expect(config.value).toMatchObject({
      calibration: { kind: 'image-folder', samples: 100 },
      transforms: { resize: 256, scale: '1/255' },
      batch_size: 8,
    });
    const [first, second] = metricConfigs(config);
    expect([first, second]).toMatchObject([{ name: 'top1', options: {} }, { name: 'top5', options: { output: 'logits' } }]); // prettier-ignore
    expect([first!.at(), second!.at(), second!.at('output')]).toEqual(['d.yaml:7:10', 'd.yaml:7:24', 'd.yaml:7:30']);
    expect(config.at(['validation', 'path'])).toBe('d.yaml:5:37');
  });

  it.each([
    [
      'data: { kind: image-foldr, path: x }',
      /d\.yaml:1:15 .*"image-foldr" is not one of .*did you mean "image-folder"/,
    ],
    ['data: { kind: npy, path: x, lables: y }', /d\.yaml:1:29 data\.lables: unknown key.*did you mean "labels"/],
    ['data: { kind: idx }', /d\.yaml:1:7 data\.path: is missing/],
    [
      'data: { kind: idx, path: x }\ntransforms: { resize: big }',
      /d\.yaml:2:23 transforms\.resize: expected a number or a list, got "big"/,
    ],
    [
      'data: { kind: idx, path: x }\ntransforms: { centre_crop: 3 }',
      /d\.yaml:2:15 transforms\.centre_crop: unknown key.*did you mean "center_crop"/,
    ],
    ['data: { kind: idx, path: x }\ntransforms: { scale: a/b }', /transforms\.scale: .*fraction such as 1\/255/],
    ['data: { kind: idx, path: x }\ntransforms: { resize_mode: bilinar }', /did you mean "bilinear"/],
    ['data: { kind: idx, path: x, samples: 0 }', /data\.samples: must be at least 1, is 0/],
    ['version: 2\ndata: { kind: idx, path: x }', /d\.yaml:1:10 version: expected 1, got 2/],
    ['data: { kind: idx, path: x }\nvalidation: { kind: idx, path: x }', /data: stands beside validation/],
    ['calibration: { kind: idx, path: x }', /validation: is missing: what is the model judged on/],
    ['batch_size: 3', /data: is missing/],
    [
      'data: { kind: idx, path: x }\nsplit: { calibration: 1.5 }',
      /split: calibration must be a share below 1 or a whole number/,
    ],
    ['data: { kind: idx, path: x }\nsplit: { training: 2.5 }', /d\.yaml:2:8 split: training must be a share/],
    ['data: { kind: idx, path: x }\nsplit: {}', /d\.yaml:2:8 split: says nothing/],
    [
      'data: { kind: idx, path: x }\nsplit: { training: 5 }\ntraining: { kind: idx, path: y }',
      /d\.yaml:3:11 training: stands beside split\.training/,
    ],
    [
      'validation: { kind: idx, path: x }\nsplit: { calibration: 5 }\ntraining: { kind: idx, path: y }',
      /d\.yaml:2:8 split: is only for one set that is split; here calibration is taken of training/,
    ],
    [
      'validation: { kind: idx, path: x }\ntraining: { kind: idx, path: y, lables: z }',
      /d\.yaml:2:33 training\.lables: unknown key.*did you mean "labels"/,
    ],
    [
      'validation: { kind: idx, path: x }\ntraining: [{ kind: idx, path: y, samples: 0 }]',
      /d\.yaml:2:43 training\.0\.samples: must be at least 1/,
    ],
    ['validation: { kind: idx, path: x }\ntraining: []', /d\.yaml:2:11 training: /],
    ['data: { kind: idx, path: x }\ntransform: {}', /transform: unknown key.*did you mean "transforms"/],
  ])('says what is wrong with %s', async (text, expected) => {
    expect(await failure(() => parse(text))).toMatch(expected);
  });

  it('reads every config that comes with qtool', () => {
    const folder = fileURLToPath(new URL('../../configs/', import.meta.url));
    const files = readdirSync(folder).filter((name) => name.endsWith('.yaml'));
    expect(files).toEqual(expect.arrayContaining(['cifar10.yaml', 'g2p.yaml', 'imagenet-sample.yaml', 'mnist.yaml']));
    for (const file of files) {
      const { value } = parseDataConfig(readFileSync(folder + file, 'utf8'), file);
      expect(value.data ?? value.validation).toBeDefined();
    }
  });

  it('has a JSON Schema, for editors', () => {
    const schema = z.toJSONSchema(dataConfigSchema, { target: 'draft-7', io: 'input' });
    expect(Object.keys(schema.properties ?? {})).toContain('validation');
  });
});
