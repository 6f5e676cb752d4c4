import type { Question } from '../../src/data/preprocess.ts';
import type { Recipe } from '../../src/data/recipes.ts';
import type { Dataset } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { decideByTrial, type RecipeTrial, type RecipeTrialOptions } from '../../src/run/recipe_trial.ts';
import { QtoolError } from '../../src/util/error.ts';
import { floats } from '../helpers/context.ts';
import { containing, matching } from './support.ts';

const classes = 4;
/** Scores are the input itself: what a recipe feeds is what the model says. */
const says = makeModel({
  opset: 13,
  inputs: [makeValue('x', 'float32', ['N', classes])],
  outputs: [makeValue('y', 'float32', ['N', classes])],
  initializers: [],
  nodes: [makeNode('Identity', ['x'], ['y'])],
});

/** Whether a recipe makes the model right about sample i. */
type Right = (i: number) => boolean;
interface Given {
  readonly recipes: Readonly<Record<string, Right | Error>>;
  /** Labelled samples, and what they are labelled with; calibration first. */
  readonly calibration?: number;
  readonly validation?: number;
  readonly label?: (i: number) => number | undefined;
  readonly unlabelled?: 'calibration' | 'validation';
  readonly options?: RecipeTrialOptions;
}

async function trial({
  recipes,
  calibration = 0,
  validation = 0,
  label = (i) => i % classes,
  unlabelled,
  options,
}: Given) {
  // prettier-ignore
  const read: Record<string, number[]> = {};
  const told: [number, string][] = [];
  const trials: RecipeTrial[] = [];
  const set = (recipe: string, part: 'calibration' | 'validation'): Dataset => {
    const [count, first] = part === 'calibration' ? [calibration, 0] : [validation, calibration];
    const labelled = unlabelled !== part;
    return {
      info: { kind: 'memory', source: part, samples: count, labelled, notes: [] },
      async *samples(limit = count) {
        const right = recipes[recipe];
        if (right instanceof Error) throw right;
        for (let at = 0; at < Math.min(count, limit); at++) {
          const i = first + at;
          (read[recipe] ??= []).push(i);
          const [wanted, scores] = [label(i), new Float32Array(classes)];
          // Every recipe feeds numbers of its own.
          scores[((wanted ?? 0) + (right!(i) ? 0 : 1) + classes) % classes] = 1 + Object.keys(recipes).indexOf(recipe);
          const target = wanted === undefined || !labelled ? {} : { target: { label: Int32Array.of(wanted) } };
          yield { id: String(i), feeds: { x: floats(scores, [1, classes]) }, ...target };
        }
      },
    };
  };
  const question: Question = {
    ...{ at: 'd', labelled: true, refusal: new QtoolError('data', 'refused') },
    recipes: Object.keys(recipes).map((name) => ({ name, what: `what ${name} is` }) as Recipe),
    open: (name) => Promise.resolve({ calibration: set(name, 'calibration'), validation: set(name, 'validation') }),
  };
  const all = { ...options, tried: (one: RecipeTrial) => trials.push(one), progress: (done: number, text: string) => told.push([done, text]) }; // prettier-ignore
  const decision = await decideByTrial(says, all)(question).catch((error: unknown) => error as QtoolError);
  return { decision, read, told, tried: trials[0], rows: trials[0]?.recipes ?? [] };
}
const always: Right = () => true;
const first =
  (n: number): Right =>
  (i) =>
    i >= n;
const half: Right = (i) => i % 2 === 0;
/** How many samples were looked at, beside the eight that tell whether recipes are the same. */
const looked = (read: readonly number[] | undefined): number[] => read?.slice(8) ?? [];

describe('decideByTrial, on scores', () => {
  it('asks a question that can be answered', async () => {
    const question = { at: 'd', refusal: new QtoolError('data', 'refused'), open: () => Promise.reject(new Error('opened')) }; // prettier-ignore
    const decide = decideByTrial(says);
    await expect(decide({ ...question, labelled: false, recipes: [{ name: 'a' } as Recipe] })).rejects.toThrow(
      'refused',
    );
    await expect(decide({ ...question, labelled: true, recipes: [] })).rejects.toThrow('refused');
  });

  it('takes what is clearly more often right, and lists all, the best first', async () => {
    const { decision, tried, rows } = await trial({ recipes: { b: half, a: always, c: (i) => i % 3 > 0 }, calibration: 120 }); // prettier-ignore
    expect(decision).toMatchObject({ recipe: 'a', notes: [matching(/120 calibration samples \(100\.0 %, next c \d+\.\d %\)/)] }); // prettier-ignore
    expect(rows.map(({ recipe }) => recipe)).toEqual(['a', 'c', 'b']);
    expect(tried).toMatchObject({ chosen: 'a', chance: 25 });
    expect(rows[0]).toMatchObject({ what: 'what a is', top1: 100, samples: 120, remark: undefined });
    // Wilson, 64 of 64 right: z² / (n + z²) / 2 · 2 with z = 1.96, halved.
    const z2 = 1.959964 ** 2;
    expect(rows[0]?.interval).toBeCloseTo((100 * z2) / (120 + z2) / 2, 3);
    const alone = await trial({ recipes: { a: always }, calibration: 120 });
    expect(alone.decision).toMatchObject({ notes: [containing('(100.0 %); write')] });
    // What was not run is no rival.
    const { decision: only } = await trial({
      recipes: { a: always, x: new QtoolError('data', 'no') },
      calibration: 120,
    });
    expect(only).toMatchObject({ notes: [containing('(100.0 %); write')] });
  });

  it('goes on after 64 samples with those that are not clearly worse', async () => {
    const { decision, read, rows, told } = await trial({ recipes: { a: first(10), b: half, c: first(6) }, calibration: 600 }); // prettier-ignore
    expect(looked(read['b'])).toEqual(Array.from({ length: 64 }, (_, i) => i));
    for (const name of ['a', 'c']) expect(looked(read[name])).toHaveLength(64 + 512);
    // More samples go first: b was ended.
    expect(rows.map(({ recipe, samples }) => [recipe, samples])).toEqual([['c', 512], ['a', 512], ['b', 64]]); // prettier-ignore
    expect(told).toEqual([
      [0, 'a on 64 samples'],
      [1 / 3, 'b on 64 samples'],
      [2 / 3, 'c on 64 samples'],
      [0, 'a on 512 samples'],
      [1 / 2, 'c on 512 samples'],
    ]);
    expect(decision).toMatchObject({ code: 'data', message: matching(/^512 .*: c and a are too close/) });
  });

  it('looks no second time at the same samples', async () => {
    for (const [count, rounds] of [
      [64, [64]],
      [65, [64, 65]],
    ] as const) {
      // prettier-ignore
      const { read, told } = await trial({ recipes: { a: always }, calibration: count });
      expect(looked(read['a'])).toHaveLength(rounds.reduce((a: number, b) => a + b, 0));
      expect(told.map(([, text]) => text)).toEqual(rounds.map((n) => `a on ${n} samples`));
    }
  });

  it('joins few calibration samples with the validation data, as far as they are labelled', async () => {
    const recipes = { a: always, b: half };
    const said = async (given: Partial<Given>) => {
      const { decision, rows, read } = await trial({ recipes, ...given });
      const note = (decision as { readonly notes: readonly string[] }).notes[0];
      return [rows[0]?.samples, /top-1 on (.*) \(/.exec(note ?? '')?.[1], looked(read['b']).length];
    };
    expect(await said({ calibration: 100, validation: 50 })).toEqual([100, '100 calibration samples', 64]);
    const [samples, text] = await said({ calibration: 99, validation: 50 });
    expect([samples, text]).toEqual([149, matching(/^149 samples, of which 50 are validation samples too: /)]);
    expect((await said({ calibration: 99, validation: 50, unlabelled: 'validation' }))[1]).toBe(
      '99 calibration samples',
    );
    expect((await said({ calibration: 50, validation: 70, unlabelled: 'calibration' }))[1]).toMatch(/^70 samples, of which 70/); // prettier-ignore
    // In order, and no more than a round asks for.
    const { read } = await trial({ recipes, calibration: 40, validation: 100 });
    expect(looked(read['b'])).toEqual(Array.from({ length: 64 }, (_, i) => i));
    const whole = await trial({ recipes, calibration: 70, validation: 9 });
    expect(looked(whole.read['b'])).toEqual(Array.from({ length: 64 }, (_, i) => i));
  });

  it('says why a recipe was not run, and stops at what is wrong with all', async () => {
    const wrong = (message: string) => new QtoolError('data', message);
    const { rows, decision } = await trial({ recipes: { a: always, b: wrong('does not fit') }, calibration: 120 });
    expect(decision).toMatchObject({ recipe: 'a' });
    expect(rows[1]).toEqual({ recipe: 'b', what: 'what b is', top1: undefined, interval: undefined, samples: 0, remark: 'does not fit' }); // prettier-ignore
    const all = await trial({ recipes: { a: wrong('one'), b: wrong('other') }, calibration: 120 });
    expect(all.decision).toMatchObject({ message: 'other' });
    for (const bug of [new Error('a bug'), new QtoolError('model', 'a model')])
      expect((await trial({ recipes: { a: bug, b: always }, calibration: 120 })).decision).toBe(bug);
  });

  it('does not count what has no label', async () => {
    const given = { recipes: { a: always, b: first(120) }, calibration: 120 };
    const label = (i: number) => (i % 3 === 0 ? undefined : i % 3 === 1 ? -1 : i % classes);
    const { rows, tried } = await trial({ ...given, label });
    // A third of 120, evenly of the classes.
    expect(rows.map(({ top1, samples }) => [top1, samples])).toEqual([[100, 120], [0, 64]]); // prettier-ignore
    expect(tried?.chance).toBe(25);
  });

  it('holds the best against what the most frequent label would give', async () => {
    // 80 % are of one class, which is as good as 80 % right of any.
    const label = (i: number) => (i % 5 === 0 ? 1 : 0);
    const guess = await trial({ recipes: { a: (i) => i % 5 > 0, b: half }, calibration: 120, label });
    expect(guess.decision).toMatchObject({
      ...{ code: 'data', at: 'd', hint: containing('--preprocess') },
      message: matching(/better than chance \(best a with 80\.0 % of 120 samples; .* 80\.0 %\)/),
    });
    expect(guess.tried?.chosen).toBeUndefined();
    // b is not clearly worse, but it is not above chance: 9 of 20 are.
    const few = await trial({ recipes: { b: (i) => i < 9, a: (i) => i > 7 }, calibration: 20 });
    expect(few.decision).toMatchObject({ recipe: 'a' });
  });

  it('names all that are too close', async () => {
    const { decision } = await trial({ recipes: { a: always, b: first(2), c: first(3) }, calibration: 120 });
    expect(decision).toMatchObject({
      ...{ code: 'data', at: 'd', hint: containing('--preprocess a or b or c;') },
      message: matching(/^120 labelled samples .*: a, b and c are too close/),
    });
  });

  // Two-sided, of k samples that all speak for one: 2 · 2⁻ᵏ is below 0.01 from 8 on. What speaks against it counts.
  it.each([
    [7, 0, false],
    [8, 0, true],
    [8, 1, false],
  ])('takes %d wins and %d losses for clear: %s', async (wins, losses, clear) => {
    const { decision } = await trial({ recipes: { a: (i) => i < 20 || i >= 20 + losses, b: first(wins) }, calibration: 120 }); // prettier-ignore
    expect('recipe' in decision).toBe(clear);
  });

  it('says where the model has no scores, and ends when it is cancelled', async () => {
    const image = makeModel({
      opset: 13,
      inputs: [makeValue('x', 'float32', ['N', classes])],
      outputs: [makeValue('y', 'float32', [])],
      initializers: [],
      nodes: [makeNode('ReduceMean', ['x'], ['y'], { keepdims: 0 })],
    });
    const set: Dataset = {
      info: { kind: 'memory', source: 'm', samples: 9, labelled: true, notes: [] },
      async *samples() {
        for (let i = 0; i < 9; i++) yield { id: String(i), feeds: { x: floats(new Float32Array(4), [1, 4]) }, target: { label: Int32Array.of(0) } }; // prettier-ignore
      },
    };
    const question = { at: 'd', labelled: true, refusal: new QtoolError('data', 'refused'), recipes: [{ name: 'a', what: '' } as Recipe], open: () => Promise.resolve({ calibration: set, validation: set }) }; // prettier-ignore
    await expect(decideByTrial(image)(question)).rejects.toMatchObject({ code: 'data', message: containing('no class scores') }); // prettier-ignore
    const cancelled = await trial({
      recipes: { a: always },
      calibration: 120,
      options: { signal: AbortSignal.abort() },
    });
    expect(cancelled.decision).toMatchObject({ code: 'cancelled' });
  });
});
