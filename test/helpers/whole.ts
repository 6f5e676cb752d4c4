import { finished, type Steps } from '../../src/util/steps.ts';

/** A function of steps as one that runs to its end without a pause. */
export const whole =
  <A extends unknown[], T>(steps: (...args: A) => Steps<T>) =>
  (...args: A): T =>
    finished(steps(...args));
