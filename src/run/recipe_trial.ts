import { createHash } from 'node:crypto';
import { batches } from '../data/batch.ts';
import { fixedBatch } from '../data/layout.ts';
import type { Decide, Question } from '../data/preprocess.ts';
import type { Recipe } from '../data/recipes.ts';
import type { Batch, Dataset, Feeds, Sample } from '../data/types.ts';
import type { Model } from '../graph/model.ts';
import { modelInputs } from '../graph/query.ts';
import { rankOf, selectScores, startOf, type Scores } from '../metrics/select.ts';
import { wilsonHalfWidth } from '../metrics/share.ts';
import { binomialTail, signTest } from '../numerics/binomial.ts';
import { ahead, checkCancelled, realRows } from '../runtime/capture.ts';
import { withSession, type Session } from '../runtime/session.ts';
import { QtoolError } from '../util/error.ts';
import { must } from '../util/must.ts';

/** What the float model made of a recipe. */
export interface TriedRecipe {
  readonly recipe: string;
  readonly what: string;
  /** Top-1 in percent, and half of its 95 % interval; undefined where it was not run. */
  readonly top1: number | undefined;
  readonly interval: number | undefined;
  readonly samples: number;
  /** Why it was not run: it feeds the same numbers as another, or the images do not fit. */
  readonly remark: string | undefined;
}

/** All recipes that were tried, the best first, and how it came out. */
export interface RecipeTrial {
  readonly recipes: readonly TriedRecipe[];
  /** Of the labels of these samples the most frequent one has this share, in percent. */
  readonly chance: number;
  readonly chosen: string | undefined;
}

export interface RecipeTrialOptions {
  readonly batchSize?: number | undefined;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal;
  readonly progress?: (done: number, text: string) => void;
  /** Told before a recipe is taken or none is. */
  readonly tried?: (trial: RecipeTrial) => void;
}

/** Samples of the two rounds: all recipes are run on the first ones, and those that are not clearly worse on all. */
const rounds = [64, 512] as const;
/** Calibration data of fewer samples is joined by the validation data. */
const fewSamples = 100;
/** How unlikely chance must be. Some ten recipes are compared, which makes one false alarm of twenty trials likely at 0.05. */
const unlikely = 0.01;
/** Samples whose numbers tell whether two recipes are the same. */
const compared = 8;

/** The right answers of one recipe, sample by sample (samples without a label have no position), and how often each label came. */
interface Score {
  readonly recipe: Recipe;
  readonly hits: number[];
  readonly positions: number[];
  readonly labels: Map<number, number>;
}

/**
 * Chooses among recipes by what the model makes of labelled samples: the one that gets clearly more right than any other (a paired sign test),
 * or the only one above chance. For `openData`'s `decide`.
 * @throws QtoolError `data` from what it returns, where there are no labels or none is clearly right.
 */
export function decideByTrial(model: Model, options: RecipeTrialOptions = {}): Decide {
  return async (question) => {
    if (!question.labelled || question.recipes.length === 0) throw question.refusal;
    const { set, said } = await samplesOf(question);
    const { scores, rest } = await score(model, question, set, options);
    // Stable: of equals the plainest stays first. Those that the first round ended were clearly worse.
    scores.sort((a, b) => b.hits.length - a.hits.length || total(b.hits) - total(a.hits));
    const chance = shareOfMost(scores[0]!.labels);
    const rivals = rivalsOf(scores, chance);
    const chosen = rivals.length === 1 ? rivals[0]!.recipe.name : undefined;
    const rows = [...scores.map(rowOf), ...rest];
    options.tried?.({ recipes: rows, chance: 100 * chance, chosen });
    if (chosen === undefined) throw refusal(rivals, rows[0]!, chance, question.at);
    const [best, next] = rows;
    const than = next?.top1 === undefined ? '' : `, next ${next.recipe} ${next.top1.toFixed(1)} %`;
    return {
      recipe: chosen,
      notes: [
        `preprocessing ${chosen} was chosen by the float model's top-1 on ${said(best!.samples)} (${best!.top1!.toFixed(1)} %${than}); write \`preprocess: ${chosen}\` into a data config, or give --preprocess ${chosen}`,
      ],
    };
  };
}

/** The labelled samples of a trial under any recipe, and what they are. */
async function samplesOf(
  question: Question,
): Promise<{ set: (recipe: string) => Promise<Dataset>; said: (samples: number) => string }> {
  const { calibration, validation } = await question.open(question.recipes[0]!.name);
  const own = calibration.info.labelled ? calibration.info.samples : 0;
  const both = own < fewSamples && validation.info.labelled;
  const set = async (recipe: string): Promise<Dataset> => {
    const sets = await question.open(recipe);
    return !both ? sets.calibration : own === 0 ? sets.validation : joined(sets.calibration, sets.validation);
  };
  const said = (samples: number): string =>
    both
      ? `${samples} samples, of which ${Math.max(0, samples - own)} are validation samples too: there is no other labelled data`
      : `${samples} calibration samples`;
  return { set, said };
}

const joined = (first: Dataset, second: Dataset): Dataset => ({
  info: { ...first.info, samples: first.info.samples + second.info.samples },
  async *samples(limit = Infinity, reuse) {
    const begin = Math.min(limit, first.info.samples);
    yield* first.samples(begin, reuse);
    if (limit > begin) yield* second.samples(limit - begin, reuse);
  },
});

async function score(
  model: Model,
  question: Question,
  set: (recipe: string) => Promise<Dataset>,
  options: RecipeTrialOptions,
): Promise<{ readonly scores: Score[]; readonly rest: readonly TriedRecipe[] }> {
  const { threads, progress, signal } = options;
  const seen = new Map<string, string>();
  const rest: TriedRecipe[] = [];
  const open: { readonly recipe: Recipe; readonly data: Dataset }[] = [];
  for (const recipe of question.recipes) {
    try {
      const data = await set(recipe.name);
      const print = await fingerprint(data);
      const same = seen.get(print);
      seen.set(print, same ?? recipe.name);
      if (same === undefined) open.push({ recipe, data });
      else rest.push(notRun(recipe, `the same as ${same}`));
    } catch (error) {
      if (!(error instanceof QtoolError) || error.code !== 'data') throw error;
      // What fits no recipe (a broken image, a wrong label) is the data's own mistake.
      if (recipe === question.recipes.at(-1) && open.length === 0) throw error;
      rest.push(notRun(recipe, error.message));
    }
  }
  const size = { batchSize: options.batchSize ?? 32, fixedBatch: fixedBatch(modelInputs(model)) };
  let alive = open;
  const done = new Map<Recipe, Score>();
  await withSession(model, { threads }, async (session) => {
    for (const limit of rounds) {
      // The same samples once more would tell nothing.
      if (done.size > 0 && alive.every(({ data }) => data.info.samples <= rounds[0])) break;
      for (const [i, { recipe, data }] of alive.entries()) {
        progress?.(i / alive.length, `${recipe.name} on ${Math.min(limit, data.info.samples)} samples`);
        done.set(recipe, await scoreOne(session, recipe, batches(data, { ...size, limit }), signal));
      }
      const scored = alive.map((one) => ({ ...one, score: must(done, one.recipe, 'the score of') }));
      const best = scored.reduce((a, b) => (total(b.score.hits) > total(a.score.hits) ? b : a));
      alive = scored.filter(({ score: one }) => !clearlyBetter(best.score, one));
    }
  });
  return { scores: [...done.values()], rest };
}

async function scoreOne(
  session: Session,
  recipe: Recipe,
  cut: AsyncIterable<Batch>,
  signal: AbortSignal | undefined,
): Promise<Score> {
  const hits: number[] = [];
  const positions: number[] = [];
  const labels = new Map<number, number>();
  for await (const batch of ahead(cut)) {
    checkCancelled(signal);
    const outputs = Object.fromEntries(Object.entries(await session.run(batch.feeds)).map(([name, tensor]) => [name, realRows(tensor, batch)])); // prettier-ignore
    for (const [sample, target] of batch.targets.entries()) {
      const label = target?.label ?? new Int32Array();
      const wanted = [...label.entries()].filter(([, one]) => one >= 0);
      const scores = wanted.length > 0 && scoresIn(outputs, batch.count, label.length);
      hits.push(wanted.filter(([at, one]) => scores && rankOf(scores, startOf(scores, sample, at), one) === 0).length);
      positions.push(wanted.length);
      for (const [, one] of wanted) labels.set(one, (labels.get(one) ?? 0) + 1);
    }
  }
  return { recipe, hits, positions, labels };
}

function scoresIn(outputs: Feeds, samples: number, positions: number): Scores {
  try {
    return selectScores(outputs, samples, positions, {}, 'top1');
  } catch (cause) {
    if (!(cause instanceof QtoolError)) throw cause;
    throw new QtoolError(
      'data',
      "nothing says how these images become the model's input, and the model has no class scores to find it by",
      { hint: 'Say it with --preprocess <name>, or with `preprocess` or `transforms` in a data config.', cause },
    );
  }
}

/** The one recipe that is clearly right, or those that might be; none where the model knows nothing under any. */
function rivalsOf(scores: readonly Score[], chance: number): readonly Score[] {
  const [best, ...others] = scores;
  const above = scores.filter(({ hits, positions }) => binomialTail(total(hits), total(positions), chance) < unlikely);
  if (!best || !above.includes(best)) return [];
  return above.length === 1 ? above : [best, ...others.filter((other) => !clearlyBetter(best, other))];
}

/** Whether a gets more right than b on more of the samples that both were run on than luck explains. */
function clearlyBetter(a: Score, b: Score): boolean {
  const wins = b.hits.filter((hits, i) => a.hits[i]! > hits).length;
  const losses = b.hits.filter((hits, i) => a.hits[i]! < hits).length;
  return wins > losses && signTest(wins, losses) < unlikely;
}

function refusal(rivals: readonly Score[], best: TriedRecipe, chance: number, at: string): QtoolError {
  if (rivals.length === 0)
    return new QtoolError(
      'data',
      `under no known preprocessing is the model better than chance (best ${best.recipe} with ${best.top1?.toFixed(1)} % of ${best.samples} samples; the most frequent label has ${(100 * chance).toFixed(1)} %)`,
      { at, hint: 'Is the model trained, and do the labels count as its classes do? If so, say its preprocessing with --preprocess, --scale, --mean and --std, or more labelled images.' }, // prettier-ignore
    );
  const names = rivals.map(({ recipe }) => recipe.name);
  return new QtoolError(
    'data',
    `${best.samples} labelled samples do not tell which preprocessing is right: ${names.slice(0, -1).join(', ')} and ${names.at(-1)} are too close`,
    { at, hint: `Name the one that the model was trained with: --preprocess ${names.join(' or ')}; or \`preprocess\` in a data config.` }, // prettier-ignore
  );
}

const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

function rowOf({ recipe, hits, positions }: Score): TriedRecipe {
  const [right, all] = [total(hits), total(positions)];
  const [top1, interval] = [(100 * right) / all, 100 * wilsonHalfWidth(right, all)];
  return { recipe: recipe.name, what: recipe.what, top1, interval, samples: hits.length, remark: undefined };
}

const notRun = ({ name, what }: Recipe, remark: string): TriedRecipe => ({ recipe: name, what, top1: undefined, interval: undefined, samples: 0, remark }); // prettier-ignore

function shareOfMost(labels: ReadonlyMap<number, number>): number {
  const counts = [...labels.values()];
  return Math.max(...counts, 0) / Math.max(1, total(counts));
}

async function fingerprint(data: Dataset): Promise<string> {
  const hash = createHash('sha1');
  for await (const sample of data.samples(compared)) for (const bytes of bytesOf(sample)) hash.update(bytes);
  return hash.digest('hex');
}

const bytesOf = ({ feeds }: Sample): Uint8Array[] => Object.values(feeds).flatMap(({ data }) => ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : []); // prettier-ignore
