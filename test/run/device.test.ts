import { passes } from '../../src/passes/index.ts';
import { problemOf, webgpuProblem } from '../../src/runtime/webgpu.ts';
import { deviceFor } from '../../src/run/device.ts';
import type { Schedule, Stage } from '../../src/schedule/types.ts';

const { signal } = new AbortController();
const stagesOf = (...names: string[]): Pick<Schedule, 'stages'> => ({
  stages: names.map((name) => ({ pass: passes.find((one) => one.name === name)! }) as Stage),
});

describe('what steps of training run on', () => {
  const none = (): Promise<string> => Promise.resolve('No supported adapters');
  const one = (): Promise<undefined> => Promise.resolve(undefined);

  it('is the adapter where there is one, and the CPU with the reason where not', async () => {
    const tuned = stagesOf('prune/level', 'train/finetune');
    expect((await deviceFor('webgpu', tuned, signal, one)).device).toBe('webgpu');
    expect(await deviceFor('webgpu', tuned, signal, none)).toEqual({
      device: 'cpu',
      note: 'training runs on the CPU, for there is no WebGPU adapter: No supported adapters',
    });
    expect((await deviceFor('webgpu', stagesOf('train/gradient_ranked'), signal, one)).device).toBe('webgpu');
  });

  it('asks for no adapter where the CPU is asked for, and where nothing is trained', async () => {
    const never = (): Promise<undefined> => Promise.reject(new Error('asked'));
    expect(await deviceFor('cpu', stagesOf('train/finetune'), signal, never)).toEqual({ device: 'cpu' });
    const { device, note } = await deviceFor('webgpu', stagesOf('prune/level'), signal, never);
    expect([device, note]).toEqual(['cpu', 'nothing in the schedule is trained: --device webgpu changes nothing']);
  });
});

describe('the process that asks for an adapter', () => {
  it('may end in any way without ending this one', () => {
    const ended = { code: 0, signal: null, out: '{}', err: '' };
    const text =
      '/src/webgpu_context.cc:136 lambda() status == Success was false. Failed to get a WebGPU adapter: none\n';
    const missing = "Warning: Couldn't load Vulkan: libvulkan.so.1: cannot open\n at operator()\n";
    expect(problemOf(ended)).toBeUndefined();
    expect(problemOf({ ...ended, out: JSON.stringify({ problem: text }), err: missing })).toBe(
      "Failed to get a WebGPU adapter: none (Couldn't load Vulkan: libvulkan.so.1: cannot open)",
    );
    expect(problemOf({ ...ended, code: null, signal: 'SIGSEGV', out: '' })).toBe(
      'the driver ended the process that asked (SIGSEGV)',
    );
    expect(problemOf({ ...ended, code: null, signal: 'SIGKILL', out: '' })).toMatch(/no answer came within/);
    expect(problemOf({ ...ended, code: 3, out: '' })).toBe('the process that asked ended with code 3');
  });

  it('says in one line whether there is one here', async () => {
    const problem = await webgpuProblem();
    if (problem !== undefined) expect(problem).not.toMatch(/\n|onnxruntime_src/);
    expect(['string', 'undefined']).toContain(typeof problem);
  });
});
