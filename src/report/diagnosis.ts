import type { Diagnosis } from '../run/report.ts';
import { hanging } from './format.ts';
import type { Paint } from './paint.ts';

/** Where the error enters, why, and the lines to paste. @param file where the whole schedule with these lines stands, if it does */
export function diagnosisText(
  { sentences, yaml }: Diagnosis,
  title: string,
  file: string | undefined,
  paint: Paint,
  width: number,
): string {
  const lines = sentences.map((sentence) => hanging('  - ', sentence, width));
  const whole = file === undefined ? '' : ` (whole: ${file})`;
  const paste = yaml === undefined ? [] : [hanging('  ', `in the schedule, in place of its sections of these names${whole}:`, width), ...yaml.split('\n').map((line) => `    ${line}`)]; // prettier-ignore
  return [paint.bold(title), ...lines, ...paste].join('\n');
}
