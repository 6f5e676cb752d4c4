import { Document, isMap, isNode, isSeq, parseDocument, YAMLSeq } from 'yaml';
import type { Stage } from '../schedule/types.ts';
import type { Cure, Instance } from './cures.ts';

/** The command of a schedule of which nothing else is known. */
const plainCommand = 'qtool quantize model.onnx --schedule mended.yaml --data data.yaml -o out';

/** The schedule with a cure in it, everything else as the file has it. @param command the line that runs it as the schedule was run. */
export function curedSchedule(text: string, stage: Stage, cure: Cure, command?: string): string {
  const { before, after, raised, calibration, bits } = cure;
  // What the head of the file says is true no more.
  const head = /^(?:[ \t]*(?:#.*)?\n)*/.exec(text)?.[0] ?? '';
  const [target = '', flags = ''] = /^# made with (.*)\n/m.exec(head) ?? [];
  const line = command ?? `${plainCommand}${flags && ` ${flags}`}`;
  const doc = parseDocument(text.slice(head.length));
  const at = ['quantizers', stage.instance];
  const epochs = [stage.clock.epoch];
  const add = ({ name, class: of, options }: Instance, where: 'start' | 'end'): void => {
    let fresh = name;
    for (let i = 2; doc.hasIn(['extensions', fresh]); i++) fresh = `${name}${i}`;
    doc.setIn(['extensions', fresh], doc.createNode({ class: of, ...options }, { flow: true }));
    const written = doc.get('policies');
    const list = isSeq(written) ? written : new YAMLSeq();
    if (list !== written) doc.set('policies', list);
    const { items } = list;
    // A quantizer that no policy names comes after all of them.
    const named = items.some((one) => isMap(one) && one.getIn(['quantizer', 'instance_name']) === stage.instance);
    if (!named) items.push(doc.createNode({ quantizer: { instance_name: stage.instance }, epochs }, { flow: true }));
    const policy = doc.createNode({ extension: { instance_name: fresh }, epochs, gate: 'none' }, { flow: true });
    items.splice(where === 'start' ? 0 : items.length, 0, policy);
  };
  if (before) add(before, 'start');
  if (after) add(after, 'end');
  if (raised) {
    const own = (doc.getIn([...at, 'overrides']) as { toJSON(): object } | undefined)?.toJSON() ?? {};
    doc.setIn([...at, 'overrides'], doc.createNode({ ...written(raised), ...own }, { flow: true }));
  }
  if (bits !== undefined) doc.setIn([...at, 'bits_weights'], bits);
  for (const [key, value] of Object.entries(calibration ?? {})) doc.setIn([...at, 'calibration', key], value);
  return `${target}# The schedule of a run with what its diagnosis proposes: ${cure.label}. All else is as it was.\n#\n# Command   ${line}\n${doc.toString({ lineWidth: 0 })}`; // prettier-ignore
}

/** Widths as a schedule writes them. */
const written = (raised: NonNullable<Cure['raised']>): object =>
  Object.fromEntries(
    Object.entries(raised).map(([layer, widths]) => [
      layer,
      Object.fromEntries(
        Object.entries(widths as Record<string, number | null>).map(([key, bits]) => [key, bits ?? 'float']),
      ),
    ]),
  );

/** What a cure changes of a schedule: the sections that are to stand in place of the file's own of the same names. */
export function cureLines(text: string, stage: Stage, cure: Cure): string {
  const sections = (yaml: string): Map<string, unknown> => {
    const { contents } = parseDocument(yaml);
    const pairs = isMap(contents) ? contents.items : [];
    return new Map(pairs.map(({ key, value }) => [String(key), value]));
  };
  const json = (value: unknown): string => JSON.stringify(isNode(value) ? value.toJSON() : value);
  const before = sections(text);
  const changed = [...sections(curedSchedule(text, stage, cure))].filter(
    ([name, value]) => json(value) !== json(before.get(name)),
  );
  return changed.map(([name, value]) => sectionText(name, value)).join('\n');
}

function sectionText(name: string, value: unknown): string {
  const doc = new Document({});
  doc.set(name, value);
  return doc.toString({ lineWidth: 0 }).trimEnd();
}
