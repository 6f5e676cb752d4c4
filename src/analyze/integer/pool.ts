import { dtypes } from '../../graph/dtype.ts';
import type { CodeArray, CodeType } from './steps.ts';

/** Arrays that are used again, which leaves nothing to the garbage collector; what they hold is left over from before. */
export interface Pool {
  take(type: CodeType | 'int32', length: number): CodeArray | Int32Array;
  /** Whoever gives an array must be the only one who has it. */
  give(array: CodeArray | Int32Array): void;
}

export function openPool(): Pool {
  const free = new Map<string, (CodeArray | Int32Array)[]>();
  return {
    take(type, length) {
      const array = dtypes[type].array as unknown as new (length: number) => CodeArray | Int32Array;
      return free.get(`${array.name} ${length}`)?.pop() ?? new array(length);
    },
    give(array) {
      const key = `${array.constructor.name} ${array.length}`;
      const own = free.get(key);
      if (own === undefined) free.set(key, [array]);
      else own.push(array);
    },
  };
}
