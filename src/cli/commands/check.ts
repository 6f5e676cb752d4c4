import { openModel } from '../../api/given.ts';
import { modulePasses } from '../../api/modules.ts';
import { checkedSchedule, scheduleText } from '../../api/schedule.ts';
import { findTarget } from '../../api/target.ts';
import { planObject, planText } from '../../report/plan.ts';
import type { Call } from '../call.ts';
import { exit } from '../errors.ts';

interface CheckOptions {
  readonly model?: string;
  readonly target?: string;
}

/** `qtool check <schedule>`: everything that can be wrong is said before anything runs; what is right is shown as a plan. */
export async function check(schedule: string, options: CheckOptions, call: Call): Promise<number> {
  const text = await scheduleText(schedule);
  // Modules are named in a plan, and never run for it.
  const passes = await modulePasses(text, 'name');
  const model = options.model === undefined ? undefined : await openModel(options.model);
  const plan = checkedSchedule(text, { model, passes, target: await findTarget(options.target) });
  call.answer(planObject(plan), () => planText(plan, call.paint, call.width));
  return exit.ok;
}
