import { inspect as inspected, type InspectOptions } from '../../api/inspect.ts';
import { inspectText } from '../../report/inspect.ts';
import type { Call } from '../call.ts';
import { exit } from '../errors.ts';

/** `qtool inspect`: what is in a model. */
export async function inspect(model: string, options: Omit<InspectOptions, 'model'>, call: Call): Promise<number> {
  const report = await inspected({ ...options, model });
  call.answer(report, () => inspectText(report, call.paint, call.width));
  return exit.ok;
}
