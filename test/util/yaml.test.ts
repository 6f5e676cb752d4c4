import * as z from 'zod';
import { QtoolError } from '../../src/util/error.ts';
import { checkYaml, inspectYaml, readYaml, yamlError } from '../../src/util/yaml.ts';

function failure(run: () => unknown): QtoolError {
  try {
    run();
  } catch (error) {
    if (error instanceof QtoolError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}
const line = (error: QtoolError): string => `${error.at === undefined ? '' : `${error.at} `}${error.message}`;

const step = z.discriminatedUnion('class', [
  z.strictObject({ class: z.literal('Pruner'), sparsity: z.number().gt(0).lt(1), weights: z.array(z.string()).min(1) }),
  z.strictObject({ class: z.literal('Quantizer'), bits: z.int().min(2).max(16), mode: z.enum(['symmetric', 'asymmetric']).default('symmetric') }), // prettier-ignore
]);
const schema = z.strictObject({
  version: z.literal(1),
  steps: z.record(z.string(), step).optional(),
  resize: z
    .union([z.number(), z.strictObject({ size: z.number(), filter: z.enum(['bilinear', 'bicubic']) })])
    .optional(),
  source: z.union([z.strictObject({ images: z.string(), labels: z.string() }), z.strictObject({ idx: z.string() })]).optional(), // prettier-ignore
});
const check = (text: string): unknown => checkYaml(readYaml(text, 's.yaml', 'schedule'), schema);

describe('readYaml', () => {
  it.each([
    ['a: 1\na: 2\n', 's.yaml:2:1 Map keys must be unique'],
    ['a: [1, 2\n', /^s\.yaml:\d:\d .*\]/],
    ['a: *nobody\n', 's.yaml:1:4 nothing is called "nobody"'],
    ['a: !secret x\n', 's.yaml:1:4 Unresolved tag: !secret'],
    ['# nothing\n', 's.yaml the file is empty'],
  ])('%j', (text, message) => {
    const error = failure(() => readYaml(text, 's.yaml', 'schedule'));
    expect(error.code).toBe('schedule');
    expect(line(error)).toMatch(message);
  });

  it('refuses alias bombs', () => {
    const rows = ['a: &a [x,x,x,x,x,x,x,x,x]'];
    for (let i = 1; i < 9; i++) {
      const [me, previous] = [String.fromCharCode(97 + i), String.fromCharCode(96 + i)];
      rows.push(`${me}: &${me} [${Array.from({ length: 9 }, () => `*${previous}`).join(',')}]`);
    }
    expect(line(failure(() => readYaml(rows.join('\n'), 's.yaml')))).toMatch('Excessive alias count');
  });

  it('keeps the order of keys that JavaScript would sort', () => {
    const doc = readYaml('o:\n  "*": 1\n  "758": 2\n  7: 3\n', 's.yaml');
    expect(doc.keys(['o'])).toEqual(['*', '758', '7']);
    expect(doc.at(['o', '7'])).toBe('s.yaml:4:6');
    expect(doc.at(['o', '7'], 'key')).toBe('s.yaml:4:3');
    expect(doc.keys(['o', '7'])).toEqual([]);
  });

  it('points into what an alias stands for', () => {
    const doc = readYaml('base: &b\n  x: 1\nuse: *b\n', 's.yaml');
    expect(doc.at(['use', 'x'])).toBe('s.yaml:2:6');
    expect(doc.keys(['use'])).toEqual(['x']);
  });
});

describe('brackets indented as PyYAML takes them', () => {
  // What PyYAML 6 reads of each text; YAML 1.2 refuses all of them.
  it.each([
    ['a:\n  weights: [\n    x,\n    y\n]\n  z: 1\n', { a: { weights: ['x', 'y'], z: 1 } }],
    ['a:\n  weights: [x,\n  y\n  ]\n', { a: { weights: ['x', 'y'] } }],
    ['a:\n    w: {\nb: [\n1 # ]\n], c: 2\n}\nd: 3\n', { a: { w: { b: [1], c: 2 } }, d: 3 }],
    ['l:\n  - a: [\n    x\n    ]\n    b: 1\n', { l: [{ a: ['x'], b: 1 }] }],
    ["l[0]: don't [\nm: [ 'it''s ]',\n\"]\"\n]\n", { 'l[0]': "don't [", m: ["it's ]", ']'] }],
    ['a: [ "x\ny", z\n\n]\n', { a: ['x y', 'z'] }],
    ['a: [\nb c\nd\n]\nt: |\n  [ {\n', { a: ['b c d'], t: '[ {\n' }],
  ])('%j', (text, value) => {
    expect(readYaml(text, 's.yaml').value).toEqual(value);
  });

  it('keep their places', () => {
    const doc = readYaml('a:\n  w: [\n  x,\ny\n]\n  z: 1\n', 's.yaml');
    const places = [['a', 'w', 0], ['a', 'w', 1], ['a', 'z']].map((path) => doc.at(path)); // prettier-ignore
    expect(places).toEqual(['s.yaml:3:3', 's.yaml:4:1', 's.yaml:6:6']);
  });

  it('do not hide what else is wrong', () => {
    const text = 'a:\n  w: [\n  x,\ny\n]\n  w: 1\n';
    expect(line(failure(() => readYaml(text, 's.yaml')))).toBe('s.yaml:6:3 Map keys must be unique');
  });
});

describe('checkYaml', () => {
  it('returns the checked value with defaults', () => {
    expect(check('version: 1\nsteps:\n  q: { class: Quantizer, bits: 8 }\n')).toEqual({
      version: 1,
      steps: { q: { class: 'Quantizer', bits: 8, mode: 'symmetric' } },
    });
  });

  it('takes merge keys', () => {
    const text = 'version: 1\nsteps:\n  a: &a { class: Quantizer, bits: 8 }\n  b: { <<: *a, bits: 4 }\n';
    expect(check(text)).toMatchObject({ steps: { b: { class: 'Quantizer', bits: 4 } } });
  });

  it.each([
    ['version: 1\nstep: {}\n', 's.yaml:2:1 step: unknown key (did you mean "steps"?)'],
    ['version: 1\nqqqq: {}\n', 's.yaml:2:1 qqqq: unknown key; known: version, steps, resize, source'],
    ['version: 2\n', 's.yaml:1:10 version: expected 1, got 2'],
    ['version:\n', 's.yaml:1:9 version: expected 1, got nothing'],
    ['steps: {}\n', 's.yaml:1:1 version: is missing: 1'],
    ['- version\n', 's.yaml:1:1 expected a mapping, got a list'],
    ['version: 1\nsteps: [1]\n', 's.yaml:2:8 steps: expected a mapping, got a list'],
    [
      'version: 1\nsteps:\n  p: { class: Prunner, sparsity: 1 }\n',
      's.yaml:3:15 steps.p.class: "Prunner" is not one of Pruner, Quantizer (did you mean "Pruner"?)',
    ],
    ['version: 1\nsteps:\n  p: { sparsity: 1 }\n', 's.yaml:3:6 steps.p.class: is missing: one of Pruner, Quantizer'],
    [
      'version: 1\nsteps:\n  q: { class: Quantizer, bits: 8, modes: symmetric }\n',
      's.yaml:3:35 steps.q.modes: unknown key (did you mean "mode"?)',
    ],
    [
      // A key of the other class is not offered.
      'version: 1\nsteps:\n  q: { class: Quantizer, bits: 8, weigths: x }\n',
      's.yaml:3:35 steps.q.weigths: unknown key; known: class, bits, mode',
    ],
    [
      'version: 1\nsteps:\n  q: { class: Quantizer, bits: 8, mode: asymetric }\n',
      's.yaml:3:41 steps.q.mode: "asymetric" is not one of symmetric, asymmetric (did you mean "asymmetric"?)',
    ],
    [
      'version: 1\nsteps:\n  q: { class: Quantizer, bits: 8.5 }\n',
      's.yaml:3:32 steps.q.bits: expected a whole number, got 8.5',
    ],
    [
      'version: 1\nsteps:\n  q: { class: Quantizer, bits: 17 }\n',
      's.yaml:3:32 steps.q.bits: must be at most 16, is 17',
    ],
    [
      'version: 1\nsteps:\n  p: { class: Pruner, sparsity: 0, weights: [a] }\n',
      's.yaml:3:33 steps.p.sparsity: must be more than 0, is 0',
    ],
    [
      'version: 1\nsteps:\n  p: { class: Pruner, sparsity: 0.5, weights: [] }\n',
      's.yaml:3:47 steps.p.weights: must have at least 1 entries',
    ],
    [
      'version: 1\nsteps:\n  p: { class: Pruner, sparsity: 0.5, weights: [a, 3] }\n',
      's.yaml:3:51 steps.p.weights.1: expected a text, got 3',
    ],
    ['version: 1\nresize: big\n', 's.yaml:2:9 resize: expected a number or a mapping, got "big"'],
    [
      'version: 1\nresize: { size: 3, filter: bicubi }\n',
      's.yaml:2:28 resize.filter: "bicubi" is not one of bilinear, bicubic (did you mean "bicubic"?)',
    ],
    [
      'version: 1\nresize: { sise: 3, filter: bicubic, size: 3 }\n',
      's.yaml:2:11 resize.sise: unknown key (did you mean "size"?)',
    ],
    ['version: 1\nsource: { images: a }\n', 's.yaml:2:9 source.labels: is missing: a text'],
    ['version: 1\nsource: { idx: a, imags: b }\n', 's.yaml:2:19 source.imags: unknown key (did you mean "images"?)'],
  ])('%j', (text, message) => {
    const error = failure(() => check(text));
    expect(line(error)).toBe(message);
    expect(error.code).toBe('schedule');
  });

  it('lists several problems in the order of the file', () => {
    const text =
      'steps:\n  q: { class: Quantizer, bits: 1 }\n  p: { class: Pruner, sparsity: 2, weights: [a] }\nverson: 1\n';
    expect(line(failure(() => check(text)))).toBe(
      [
        '3 problems in s.yaml:',
        '  s.yaml:2:32 steps.q.bits: must be at least 2, is 1',
        '  s.yaml:3:33 steps.p.sparsity: must be less than 1, is 2',
        '  s.yaml:4:1 verson: unknown key (did you mean "version"?)',
      ].join('\n'),
    );
  });

  it('checks a part of a document, with the whole path in its messages', () => {
    const doc = readYaml('version: 1\nsteps:\n  q: { class: Quantizer, bits: 1 }\n', 's.yaml');
    expect(line(failure(() => checkYaml(doc, step, ['steps', 'q'])))).toBe(
      's.yaml:3:32 steps.q.bits: must be at least 2, is 1',
    );
    expect(inspectYaml(doc, z.literal(1), ['version'])).toEqual({ value: 1, problems: [] });
  });

  it('points at the key when asked to', () => {
    const doc = readYaml('a:\n  fc*: 3\n', 's.yaml', 'schedule');
    expect(line(yamlError(doc, [{ path: ['a', 'fc*'], message: 'matches nothing', on: 'key' }]))).toBe(
      's.yaml:2:3 a.fc*: matches nothing',
    );
  });
});
