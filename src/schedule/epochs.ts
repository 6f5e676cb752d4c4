import type { Problem } from '../util/yaml.ts';
import type { Policy } from './language.ts';

/** When a policy applies. */
export interface When {
  readonly epochs: readonly number[];
  /** The window a ramp runs over: first epoch, and the one before which it ends. */
  readonly start: number;
  readonly end: number;
  readonly frequency: number;
}

/** The one epoch `start`. */
export const once = (start: number): When => ({ epochs: [start], start, end: start + 1, frequency: 1 });

/** More steps than this are a slip of the keyboard. */
export const maxSteps = 10_000;

/**
 * The epochs of a policy: `epochs`, or every `frequency`-th from `starting_epoch` to before `ending_epoch`. Problems are told
 * with their path below the policy.
 */
export function expandEpochs(policy: Policy): { readonly when: When } | { readonly problems: readonly Problem[] } {
  return policy.epochs ? listed(policy, policy.epochs) : ranged(policy);
}

type Result = ReturnType<typeof expandEpochs>;
const wrong = (key: string | number | readonly (string | number)[], message: string): Result => ({
  problems: [{ path: typeof key === 'object' ? key : [key], message }],
});

function listed(policy: Policy, epochs: readonly number[]): Result {
  for (const key of ['starting_epoch', 'ending_epoch', 'frequency'] as const)
    if (policy[key] !== undefined) return wrong(key, 'epochs says when already; write one or the other');
  if (epochs.length > maxSteps) return wrong('epochs', `that would be ${epochs.length} steps; at most ${maxSteps}`);
  const seen = new Set<number>();
  const twice = epochs.findIndex((epoch) => seen.size === seen.add(epoch).size);
  if (twice >= 0) return wrong(['epochs', twice], `epoch ${epochs[twice]} stands here twice`);
  const sorted = [...epochs].sort((a, b) => a - b);
  const start = sorted[0]!;
  const gap = sorted.reduce((a, epoch) => gcd(a, epoch - start), 0);
  return { when: { epochs: sorted, start, end: sorted.at(-1)! + 1, frequency: Math.max(1, gap) } };
}

function ranged(policy: Policy): Result {
  const { starting_epoch: start, frequency = 1 } = policy;
  if (start === undefined)
    return { problems: [{ path: [], message: 'does not say when: epochs: [..], or starting_epoch and ending_epoch' }] };
  const end = policy.ending_epoch ?? start + 1;
  if (end <= start)
    return wrong(
      'ending_epoch',
      `no epoch is reached: it starts at ${start} and ends before ${end}` +
        (end === start ? `; ending_epoch is exclusive: ${end + 1} for one epoch` : ''),
    );
  // A single epoch needs no frequency; over a longer span one that overshoots is a mistake.
  if (frequency > end - start && end - start > 1)
    return wrong(
      'frequency',
      `${frequency} epochs jump past ending_epoch ${end}: only epoch ${start} is reached; write epochs: [${start}] if that is meant`,
    );
  const count = Math.ceil((end - start) / frequency);
  if (count > maxSteps) return wrong('ending_epoch', `that would be ${count} steps; at most ${maxSteps}`);
  const epochs = Array.from({ length: count }, (_, i) => start + i * frequency);
  return { when: { epochs, start, end, frequency } };
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
