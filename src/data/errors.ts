import { QtoolError } from '../util/error.ts';

/** The first line of what was thrown. */
export function messageOf(cause: unknown): string {
  const text =
    cause instanceof Error || (typeof cause === 'object' && cause !== null && 'message' in cause)
      ? String((cause as Error).message)
      : String(cause);
  return text.split('\n')[0] ?? text;
}

/** A mistake in the user's data. */
export function dataError(message: string, at?: string, hint?: string, cause?: unknown): QtoolError {
  return new QtoolError('data', message, { at, hint, cause });
}
