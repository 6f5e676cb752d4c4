import type { Target } from '../autodiff/rule.ts';
import { webgpuProblem } from '../runtime/webgpu.ts';
import type { Schedule } from '../schedule/types.ts';

/** What steps of training run on, and what is said of it, once. */
export interface ChosenDevice {
  readonly device: Target;
  readonly note?: string | undefined;
}

/**
 * What a schedule's steps of training run on where a device is asked for: that one, or the CPU where no step is taken or no adapter is found.
 * @param problem why there is no adapter, asked only where it matters.
 */
export async function deviceFor(
  asked: Target,
  { stages }: Pick<Schedule, 'stages'>,
  signal: AbortSignal,
  problem: (signal: AbortSignal) => Promise<string | undefined> = webgpuProblem,
): Promise<ChosenDevice> {
  if (asked === 'cpu') return { device: 'cpu' };
  const trains = stages.some(({ epoch, pass }) => epoch !== undefined || pass.name.startsWith('train/'));
  if (!trains) return { device: 'cpu', note: 'nothing in the schedule is trained: --device webgpu changes nothing' };
  const why = await problem(signal);
  // The run ends before any step is taken.
  if (signal.aborted) return { device: 'cpu' };
  if (why !== undefined) return { device: 'cpu', note: `training runs on the CPU, for there is no WebGPU adapter: ${why}` }; // prettier-ignore
  return { device: 'webgpu', note: 'training runs on WebGPU; what is measured and quantized runs on the CPU' };
}
