import type { RecipeTrial } from '../run/recipe_trial.ts';
import { grouped, withInterval } from './format.ts';
import type { Paint } from './paint.ts';
import { right, table } from './table.ts';

/** With the other columns in 80. */
const longest = 36;
const cut = (text: string): string => (text.length > longest ? `${text.slice(0, longest - 1)}…` : text);

/** The table of recipes that were tried. */
export function recipeTable({ recipes, chance, chosen }: RecipeTrial, paint: Paint): string {
  const rows = recipes.map(({ recipe, what, top1, interval, samples, remark }) => [
    recipe,
    cut(remark ?? what),
    top1 === undefined ? '' : withInterval(top1, interval, '%'),
    samples === 0 ? '' : grouped(samples),
    recipe === chosen ? 'taken' : '',
  ]);
  return [
    table([{ title: 'recipe' }, { title: 'what' }, right('top1'), right('samples'), { title: '' }], rows, paint),
    paint.dim(`  the float model; always the most frequent label: ${chance.toFixed(1)} %`),
  ].join('\n');
}
