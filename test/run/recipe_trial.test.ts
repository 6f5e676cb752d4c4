import { openData } from '../../src/data/open.ts';
import type { Question } from '../../src/data/preprocess.ts';
import { recipes } from '../../src/data/recipes.ts';
import type { Dataset } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { modelInputs } from '../../src/graph/query.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { decideByTrial, type RecipeTrial } from '../../src/run/recipe_trial.ts';
import { QtoolError } from '../../src/util/error.ts';
import { failure, numbers, png, samplesOf, temporaryFolder } from '../data/support.ts';
import { parseDataConfig } from '../../src/data/config.ts';

const folder = temporaryFolder();
/** The greys of four classes. */
const greys = [10, 90, 170, 245];

/** [N, 3, 4, 4] → mean → one score a class, by a weight and a bias. */
function brightness(weights: readonly number[], biases: readonly number[], head: string[] = []): Model {
  const dims = head.length > 0 ? [] : ['N', weights.length];
  return makeModel({
    inputs: [makeValue('x', 'float32', ['N', 3, 4, 4])],
    outputs: [makeValue(head.length > 0 ? 'mean' : 'scores', 'float32', dims)],
    nodes: [
      makeNode('GlobalAveragePool', ['x'], ['m'], {}, { name: 'mean' }),
      makeNode('Flatten', ['m'], ['f'], {}, { name: 'flatten' }),
      makeNode('Gemm', ['f', 'w', 'b'], ['scores'], {}, { name: 'fc' }),
      ...(head.length > 0 ? [makeNode('ReduceMean', ['scores'], ['mean'], { keepdims: 0 }, { name: 'all' })] : []),
    ],
    initializers: [
      makeTensor(
        'w',
        'float32',
        [3, weights.length],
        Float32Array.from([...weights, ...weights, ...weights], (w) => w / 3),
      ),
      makeTensor('b', 'float32', [weights.length], Float32Array.from(biases)),
    ],
  });
}

// The nearest of the greys, of 1: under any other scale or offset some class is another's.
const shares = greys.map((grey) => grey / 255);
const nearest = brightness(shares.map((mean) => 2 * mean), shares.map((mean) => -mean * mean)); // prettier-ignore
const knowsNothing = brightness([0, 0, 0, 0], [0, 1, 0, 0]);
// Bright or dark, whatever the scale is: not under an offset.
const anyScale = brightness([0, 1, 2, 3], [0, 0, 0, 0]);

beforeAll(async () => {
  for (const [label, grey] of greys.entries()) {
    const image = await png(4, 4, [grey, grey, grey]);
    for (let i = 0; i < 40; i++) folder.write(`many/${label}/${i}.png`, image);
    for (let i = 0; i < 2; i++) folder.write(`few/${label}/${i}.png`, image);
    for (let i = 0; i < 30; i++) folder.write(`train/${label}/${i}.png`, image);
  }
});

async function open(model: Model, source: string, part?: 'validation') {
  const told: RecipeTrial[] = [];
  const config = source.includes(':') ? parseDataConfig(source, `${folder.path}/d.yaml`) : `${folder.path}/${source}`;
  const decide = decideByTrial(model, { tried: (trial) => told.push(trial) });
  const opened = openData(config, modelInputs(model), { decide, ...(part && { part }) });
  return { opened, told };
}

describe('decideByTrial', () => {
  it('takes the recipe that the model is clearly best with, and says so', async () => {
    const { opened, told } = await open(nearest, 'many');
    const { validation, notes } = await opened;
    const sample = (await samplesOf(validation, 1))[0];
    expect(shares.map(Math.fround)).toContain(numbers(sample, 'x')[0]);
    expect(told).toHaveLength(1);
    expect(told[0]!.chosen).toBe('0..1');
    expect(told[0]!.chance).toBeCloseTo(25, -1);
    expect(told[0]!.recipes[0]).toMatchObject({ recipe: '0..1', top1: 100 });
    // 32 samples are for calibration; too few alone.
    expect(notes[0]).toMatch(/^preprocessing 0\.\.1 was chosen by the float model's top-1 on 160 samples, of which 128 are validation samples too: .* \(100\.0 %, next \S+ \d+\.\d %\); write `preprocess: 0\.\.1` into a data config, or give --preprocess 0\.\.1$/); // prettier-ignore
  });

  it('chooses on calibration data where that has labels, also where only validation data is wanted', async () => {
    const config = 'calibration: { kind: image-folder, path: train }\nvalidation: { kind: image-folder, path: many }';
    const { opened } = await open(nearest, config, 'validation');
    const { validation, calibration, notes } = await opened;
    expect(notes[0]).toMatch(/top-1 on 120 calibration samples \(/);
    expect([validation.info.samples, calibration.info.samples]).toEqual([160, 0]);
  });

  it('takes none where two are too close, nor where samples are too few', async () => {
    const tie = await open(anyScale, 'many');
    expect(await failure(() => tie.opened)).toMatch(/many 160 labelled samples do not tell which preprocessing is right: .* are too close \(Name the one that the model was trained with: --preprocess /); // prettier-ignore
    expect(tie.told[0]!.chosen).toBeUndefined();
    expect(await failure(async () => (await open(nearest, 'few')).opened)).toMatch(/8 labelled samples do not tell/);
  });

  it('says where the model is at chance under all', async () => {
    expect(await failure(async () => (await open(knowsNothing, 'many')).opened)).toMatch(/under no known preprocessing is the model better than chance \(best 0\.\.1 with 25\.0 % of 64 samples|best 0\.\.1 with 25\.0 % of 160 samples; the most frequent label has 25\.0 %\)/); // prettier-ignore
  });

  it('says where the model has no class scores', async () => {
    const regression = brightness(shares, shares, ['mean']);
    expect(await failure(async () => (await open(regression, 'many')).opened)).toMatch(/the model has no class scores to find it by \(Say it with --preprocess/); // prettier-ignore
  });

  it('calls recipes of the same numbers the same, and takes the first of them', async () => {
    const config = parseDataConfig(
      'data: { kind: image-folder, path: many }\npreprocess: 0..1',
      `${folder.path}/d.yaml`,
    );
    const sets = await openData(config, modelInputs(nearest));
    const told: RecipeTrial[] = [];
    const twin = { ...recipes[0], name: 'twin' };
    const question: Question = { recipes: [recipes[0], twin], ...asked, open: () => Promise.resolve(sets) };
    const decision = await decideByTrial(nearest, { tried: (trial) => told.push(trial) })(question);
    expect(decision.recipe).toBe('0..1');
    expect(told[0]!.recipes[1]).toMatchObject({ recipe: 'twin', samples: 0, remark: 'the same as 0..1' });
  });

  it('leaves out a recipe that the images do not fit, and stops at what is wrong under all', async () => {
    folder.write('broken/a/0.png', 'no image');
    folder.write('broken/b/0.png', 'no image');
    expect(await failure(async () => (await open(nearest, 'broken', 'validation')).opened)).toMatch(/the image does not decode/); // prettier-ignore
    const good = await openData(parseDataConfig('data: { kind: image-folder, path: many }\npreprocess: 0..1', `${folder.path}/d.yaml`), modelInputs(nearest)); // prettier-ignore
    const bad: Dataset = { info: good.validation.info, async *samples() { throw Object.assign(await notFitting()); } }; // prettier-ignore
    const told: RecipeTrial[] = [];
    const question: Question = {
      ...asked,
      recipes: [recipes[1], recipes[0]],
      open: (name) => Promise.resolve(name === '0..1' ? good : { calibration: bad, validation: bad }),
    };
    expect((await decideByTrial(nearest, { tried: (trial) => told.push(trial) })(question)).recipe).toBe('0..1');
    expect(told[0]!.recipes[1]).toMatchObject({ recipe: '0..255', remark: 'does not fit' });
  });

  it('ends when it is cancelled', async () => {
    const decide = decideByTrial(nearest, { signal: AbortSignal.abort() });
    await expect(openData(`${folder.path}/many`, modelInputs(nearest), { decide })).rejects.toMatchObject({ code: 'cancelled' }); // prettier-ignore
  });
});

const asked = { at: 'd', labelled: true, refusal: new QtoolError('data', 'refused') };

async function notFitting(): Promise<Error> {
  const { dataError } = await import('../../src/data/errors.ts');
  return dataError('does not fit');
}
