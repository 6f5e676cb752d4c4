import { diagnosisText } from '../../src/report/diagnosis.ts';
import { plain } from '../../src/report/paint.ts';

describe('diagnosisText', () => {
  const sentences = ['the first fall is at b', 'channel 4 of "ra" reaches 400'];

  it('is the sentences', () => {
    expect(diagnosisText({ sentences }, 'diagnosis', undefined, plain, 80).split('\n')).toEqual([
      'diagnosis',
      ...sentences.map((one) => `  - ${one}`),
    ]);
  });

  it('has the lines to paste as they are, whatever the width, and says where they go and where all of it stands', () => {
    const yaml = `policies:\n  - ${'long '.repeat(30)}`;
    const text = diagnosisText({ sentences, yaml }, 'diagnosis', 'out/mended.yaml', plain, 60);
    expect(text).toMatch(/in place of its\s+sections of these names.*out\/mended\.yaml/s);
    expect(text.endsWith(yaml.split('\n').map((line) => `    ${line}`).join('\n'))).toBe(true); // prettier-ignore
    expect(diagnosisText({ sentences, yaml }, 'd', undefined, plain, 60)).not.toContain('whole');
  });
});
