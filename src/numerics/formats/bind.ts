import { codeOf, codesInSet, scaledGrid } from '../grid.ts';
import { unitOf } from './scale.ts';
import type { BoundFormat, Format, LevelSet } from './format.ts';

/** Levels a value from which on a grid takes longer to make than its thresholds one by one. */
const searched = 16;

/** Options of which more means more levels, and less error: the first that a format has. */
const fineness = ['terms', 'bases', 'mantissa', 'bits'];

const empty: LevelSet = { levels: new Float32Array(0) };
const withUnit = (set: LevelSet): LevelSet => ({ ...set, unit: unitOf(set) });

/** A format with its options, which were checked before. */
export function bind<O extends object>(format: Format<O>, options: O): BoundFormat {
  const sets = new Map<boolean, LevelSet>();
  const setOf = (signed: boolean): LevelSet => {
    const known = sets.get(signed) ?? withUnit(format.set?.(options, signed) ?? empty);
    sets.set(signed, known);
    return known;
  };
  const { notActivations } = format;
  const label = format.short?.(options) ?? labelOf(format, options);
  return {
    name: format.name,
    label,
    toJSON: () => label,
    bits: format.bits(options),
    sharing: format.sharing(options),
    notWeights: format.notWeights,
    notActivations: typeof notActivations === 'function' ? notActivations(options) : notActivations,
    runTimeBlock: format.runTimeBlock?.(options),
    exactScale: format.exactScale ?? false,
    type: format.type,
    finer() {
      const key = fineness.find((one) => one in options);
      if (key === undefined) return undefined;
      const next = format.options.safeParse({ ...options, [key]: Number(options[key as keyof O]) + 1 });
      return next.success ? bind(format, next.data) : undefined;
    },
    fit: (values, look) => format.fit(values, options, look, setOf(look.signed)),
    codes: (values, { set, scale }, group) => {
      const own = format.codes?.(values, () => scaledGrid(set, scale), options, group);
      if (own) return own;
      if (set.levels.length > searched * values.length) return codesInSet(set, scale, values);
      const grid = scaledGrid(set, scale);
      return Uint16Array.from(values, (x) => codeOf(grid, x));
    },
  };
}

/** Name and those options that are not the default. */
function labelOf<O extends object>(format: Format<O>, options: O): string {
  const usual = format.options.safeParse({});
  const defaults: Readonly<Record<string, unknown>> = usual.success ? { ...usual.data } : {};
  const own = Object.entries({ ...options })
    .filter(([key, value]) => value !== undefined && value !== defaults[key])
    .map(([key, value]) => `${key}=${String(value)}`);
  return own.length === 0 ? format.name : `${format.name}:${own.join(',')}`;
}
