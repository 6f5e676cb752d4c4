import { Chalk } from 'chalk';
import { passes } from '../../src/passes/index.ts';
import { planObject, planText } from '../../src/report/plan.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';

describe('a long plan', () => {
  const text = `pruners:
  p: { class: SparsityLevelParameterPruner, levels: { '*': 0.5 } }
policies:
  - { pruner: { instance_name: p }, starting_epoch: 0, ending_epoch: 9000 }
`;
  const plan = parseSchedule(text, 's.yaml', { passes });

  it('is shown by its first and last stages', () => {
    const lines = planText(plan, new Chalk({ level: 0 }), 100).split('\n');
    expect(lines.filter((line) => line.includes('prune/level'))).toHaveLength(100);
    expect(lines).toContain('… 8900 more stages (--json lists them all) …');
    expect(lines.at(-1)).toMatch(/^ *9000 +8999 /);
  });

  it('is whole as data', () => {
    expect((planObject(plan) as { stages: readonly unknown[] }).stages).toHaveLength(9000);
  });
});
