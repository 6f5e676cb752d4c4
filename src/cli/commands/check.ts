import { planObject, planText } from '../../report/plan.ts';
import type { Call } from '../call.ts';
import { exit } from '../errors.ts';
import { loadSchedule, openModel } from '../load.ts';
import { findSchedule } from '../schedule_file.ts';
import { findTarget } from '../target_file.ts';

export interface CheckOptions {
  readonly model?: string;
  readonly target?: string;
}

/** `qtool check <schedule>`: everything that can be wrong is said before anything runs; what is right is shown as a plan. */
export async function check(schedule: string, options: CheckOptions, call: Call): Promise<number> {
  const file = await findSchedule(schedule);
  const model = options.model === undefined ? undefined : await openModel(options.model);
  const plan = await loadSchedule(file, model, undefined, await findTarget(options.target));
  call.answer(planObject(plan), () => planText(plan, call.paint, call.width));
  return exit.ok;
}
