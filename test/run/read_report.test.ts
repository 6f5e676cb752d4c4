import { parseReport } from '../../src/run/read_report.ts';
import { jsonText } from '../../src/util/json.ts';
import { report } from '../report/sample.ts';
import { containing, matching } from './support.ts';

const refusal = (text: string): unknown => {
  try {
    return parseReport(text, 'out/report.json');
  } catch (error) {
    return error;
  }
};

describe('parseReport', () => {
  it('reads what a run wrote', () => {
    expect(parseReport(jsonText(report), 'r')).toMatchObject({ format: 1, schedule: report.schedule });
  });

  it.each<[string, string, RegExp]>([
    ['no JSON', '{"format":\n  1,', /^this is no JSON: [^\n]+$/],
    ['nothing', '', /^this is no JSON: \w+ \w+ [^\n]+$/],
    ['no object', '7', /^this is no report of a run: Invalid [^\n]+$/],
    ['another format', jsonText({ ...report, format: 2 }), /^this is no report of a run: format: [^\n]+$/],
    ['a key that is wrong', jsonText({ ...report, model: { ...report.model, bytes: 'x' } }), /: model\.bytes: [^\n]+$/],
  ])('refuses %s in one line, with the file and a way out', (_, text, message) => {
    expect(refusal(text)).toMatchObject({
      ...{ code: 'usage', at: 'out/report.json', hint: containing('qtool quantize'), message: matching(message) },
    });
    expect((refusal(text) as Error).cause instanceof Error).toBe(!text.endsWith('}\n') && text !== '7');
  });
});
