/** How long the epochs of a run still take, with what is measured after each. */
export interface TimeLeft {
  /** An epoch begins, and so many come behind it; undefined: a stage that is none. */
  begin(ahead: number | undefined): void;
  /** The stage that began took so many seconds. */
  end(seconds: number): void;
  /** Seconds until the last epoch is over, at this share of what is being done; Infinity while nothing tells; undefined outside of epochs. */
  at(done: number, measuring: boolean): number | undefined;
}

/** Epochs that the mean is taken of: pruned or thinned on the way, they get quicker. */
const recent = 3;

/** @param before seconds of epochs that are over already. */
export function timeLeft(before: readonly number[] = [], now: () => number = () => performance.now() / 1000): TimeLeft {
  const took = [...before];
  let [began, coming]: [number, number | undefined] = [0, undefined];
  return {
    begin(ahead) {
      [began, coming] = [now(), ahead];
    },
    end(seconds) {
      if (coming !== undefined) took.push(seconds);
      coming = undefined;
    },
    at(done, measuring) {
      if (coming === undefined) return undefined;
      const gone = now() - began;
      const last = took.slice(-recent);
      if (last.length > 0) {
        const mean = last.reduce((a, b) => a + b, 0) / last.length;
        return Math.max(0, mean - gone) + coming * mean;
      }
      // Of the first epoch nothing but its share is known, and of measuring not even that.
      if (measuring) return coming * gone;
      return done > 0 ? gone / done - gone + (coming * gone) / done : Infinity;
    },
  };
}
