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
  it('gives back what was written, infinite numbers too', () => {
    const [stage, layer] = [report.stages[0]!, report.layers[0]!];
    const odd = {
      ...report,
      // A name that is a word for a number stays a name, and an option of null null.
      layers: [{ ...layer, layer: 'NaN', sqnr: -Infinity, weightSpread: { low: -1, high: 1, float: [1], range: [-Infinity, 1] } }], // prettier-ignore
      stages: [{ ...stage, options: { bits_activations: null, words: ['Infinity'] } }],
      sensitivity: { metric: 'sqnr', unit: 'dB', columns: ['8', '4'], rows: [{ layer: 'NaN', values: [NaN, undefined] }] }, // prettier-ignore
    };
    for (const written of [report, odd]) expect(parseReport(jsonText(written), 'report.json')).toEqual(written);
  });

  it.each<[string, string, RegExp]>([
    ['no JSON', '{"format":\n  1,', /^this is no JSON: [^\n]+$/],
    ['nothing', '', /^this is no JSON: \w+ \w+ [^\n]+$/],
    ['no object', '7', /^this is no report of a run: Invalid [^\n]+$/],
    ['another format', jsonText({ ...report, format: 'x' }), /^this is no report of a run: format: [^\n]+$/],
    ['a key that is wrong', jsonText({ ...report, model: { ...report.model, bytes: 'x' } }), /: model\.bytes: [^\n]+$/],
  ])('refuses %s in one line, with the file and a way out', (_, text, message) => {
    expect(refusal(text)).toMatchObject({
      ...{ code: 'usage', at: 'out/report.json', hint: containing('qtool quantize'), message: matching(message) },
    });
    expect((refusal(text) as Error).cause instanceof Error).toBe(!text.endsWith('}\n') && text !== '7');
  });

  it('says of a newer format that a newer qtool wrote it', () => {
    const message = matching(/^this report is of format 2, of a newer qtool; this one \([\d.]+\) reads format 1$/);
    expect(refusal(jsonText({ ...report, format: 2 }))).toMatchObject({ message, hint: containing('newer') });
  });
});
