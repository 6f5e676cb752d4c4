import { readFileSync } from 'node:fs';
import { passes } from '../../src/passes/index.ts';
import { scheduleJsonSchema } from '../../src/schedule/json_schema.ts';

const names = (chosen: typeof passes): string[] => chosen.map((pass) => pass.name);

describe('the passes as schedules see them', () => {
  it('are in the committed JSON Schema; if not, run "npm run schema"', () => {
    const file = new URL('../../configs/schedule.schema.json', import.meta.url);
    // Through text, as undefined and -0 do not survive a file.
    const generated: unknown = JSON.parse(JSON.stringify(scheduleJsonSchema(passes)));
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(generated);
  });

  it('have names and classes of their own', () => {
    const all = passes.flatMap((pass) => [pass.name, ...pass.classes]);
    expect(all.filter((name, i) => all.indexOf(name) !== i)).toEqual([]);
    expect(names(passes.filter((pass) => pass.classes.length === 0))).toEqual([]);
  });

  it('refuse options that they do not know', () => {
    const lenient = passes.filter((pass) => {
      const { error } = pass.options.safeParse({ 'no such option': 1 });
      return !JSON.stringify(error?.issues ?? []).includes('unrecognized_keys');
    });
    expect(names(lenient)).toEqual([]);
  });

  it('say what they are and where they are from', () => {
    expect(names(passes.filter(({ summary, source }) => summary === '' || source === ''))).toEqual([]);
  });
});
