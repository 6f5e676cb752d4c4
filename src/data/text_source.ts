import { readFileSync, statSync } from 'node:fs';
import { extname } from 'node:path';
import { cast } from './cast.ts';
import type { SourceConfigOf } from './config.ts';
import { dataError, messageOf } from './errors.ts';
import { limits } from './limits.ts';
import type { IndexedSource, Opening } from './source.ts';
import { openTokenizer } from './tokenizer.ts';
import type { Tensor } from './types.ts';

/** What inputs of these names hold of a text. */
const holds = {
  input_ids: ({ ids }: Encoded) => ids,
  attention_mask: ({ ids, used }: Encoded) => ids.map((_, i) => (i < used ? 1 : 0)),
  token_type_ids: ({ kinds }: Encoded) => kinds,
} as const;

interface Encoded {
  readonly ids: readonly number[];
  readonly kinds: readonly number[];
  readonly used: number;
}

/**
 * Texts of a file, one a line (or one a record of .jsonl), as `input_ids`, `attention_mask` and `token_type_ids`, as far as the model has inputs of these names.
 * Empty lines are no texts.
 */
export async function openText(config: SourceConfigOf<'text'>, opening: Opening): Promise<IndexedSource> {
  const path = opening.find(config.path, 'path');
  const file = opening.find(config.tokenizer, 'tokenizer');
  const other = opening.inputs.find(({ name }) => !Object.hasOwn(holds, name));
  if (other) throw dataError(`texts give ${Object.keys(holds).join(', ')}, and the model has an input "${other.name}"`, opening.at(), 'Use kind: module for other inputs.'); // prettier-ignore
  const { length = 128 } = config;
  const tokenizer = await openTokenizer(file, length, config.pad, opening.at('tokenizer'));
  const texts = textsOf(path, config.column ?? 'text');
  return {
    access: 'index',
    kind: 'text',
    source: config.path,
    length: texts.length,
    labelled: false,
    notes: [],
    identity: (index) => `${path}:${texts[index]!.line}`,
    open: async () => ({
      read(index) {
        const { text, line } = texts[index]!;
        const encoded = tokenizer.encode(text);
        const feeds = opening.inputs.map(({ name, type }): readonly [string, Tensor] => {
          const values = Float64Array.from(holds[name as keyof typeof holds](encoded));
          return [name, { type, dims: [1, length], data: cast(values, 'float64', type, name) }];
        });
        return { id: `${path}:${line}`, feeds: Object.fromEntries(feeds) };
      },
      close: () => undefined,
    }),
  };
}

/** The texts of a file with their lines, from 1. */
function textsOf(path: string, column: string): { readonly text: string; readonly line: number }[] {
  if (statSync(path).size > limits.texts)
    throw dataError(`is larger than ${limits.texts / 2 ** 20} MiB`, path, 'Take a part of it.');
  const lines = readFileSync(path, 'utf8').split(/\r?\n/);
  return lines.flatMap((text, i) => {
    if (text.trim() === '') return [];
    return [{ text: extname(path) === '.jsonl' ? fieldOf(text, column, `${path}:${i + 1}`) : text, line: i + 1 }];
  });
}

function fieldOf(line: string, column: string, at: string): string {
  let record: unknown;
  try {
    record = JSON.parse(line);
  } catch (error) {
    throw dataError(`is no JSON: ${messageOf(error)}`, at, undefined, error);
  }
  const text = typeof record === 'object' && record !== null && Object.hasOwn(record, column) ? (record as Record<string, unknown>)[column] : undefined; // prettier-ignore
  if (typeof text === 'string') return text;
  throw dataError(`has no text "${column}"`, at, 'column names the field that holds it.');
}
