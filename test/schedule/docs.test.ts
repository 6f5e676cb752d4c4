import { readFileSync } from 'node:fs';
import { parseSchedule } from '../../src/schedule/parse.ts';
import { policyKeys, topKeys, trainingPolicyArgs } from '../../src/schedule/language.ts';
import { fakePasses } from './passes.ts';

const docs = readFileSync(new URL('../../docs/schedules.md', import.meta.url), 'utf8');
const example = /```yaml\n(.*?)```/s.exec(docs)![1]!;
const parse = (text: string) =>
  parseSchedule(text, 'schedule.yaml', { passes: fakePasses, metrics: [{ name: 'top1' }] });

describe('docs/schedules.md', () => {
  it('opens with a schedule that is right', () => {
    const { stages } = parse(example);
    expect(stages.map(({ instance, clock }) => [instance, clock.epoch])).toEqual([
      ...[0, 2, 4, 6, 8].map((epoch) => ['ramp', epoch]),
      ['int8', 10],
    ]);
    expect(stages.map(({ gate }) => gate?.onFail)).toEqual(['undo', 'undo', 'undo', 'undo', 'undo', 'retry']);
  });

  it('shows the message that a slip in it really gives', () => {
    const shown = /^schedule\.yaml:(?<line>\S+) (?<message>.*)$/m.exec(docs)!.groups!;
    const slip = example.replace('final_sparsity', 'final_sparsty');
    expect(() => parse(slip)).toThrow(
      expect.objectContaining({ at: `schedule.yaml:${shown['line']}`, message: shown['message'] }) as Error,
    );
  });

  it('names every key', () => {
    const keys = [...topKeys, ...Object.values(policyKeys), ...Object.keys(trainingPolicyArgs)];
    expect(keys.filter((key) => !docs.includes(`\`${key}\``))).toEqual([]);
  });
});
