import { readFileSync, statSync } from 'node:fs';
import { loadNative, type Native } from '../util/native.ts';
import { dataError, messageOf } from './errors.ts';
import { limits } from './limits.ts';

const native: Native = {
  name: '@huggingface/tokenizers',
  purpose: 'makes tokens of texts',
  install: 'npm install @huggingface/tokenizers',
  needs: 'it is plain JavaScript and runs everywhere',
};

/** What is used of the package, whose own types do not resolve under Node's rules. */
interface Tokenizer {
  encode(
    text: string,
    options: { readonly add_special_tokens: boolean; readonly return_token_type_ids: true },
  ): { readonly ids: number[]; readonly token_type_ids: number[] };
  token_to_id(token: string): number | undefined;
}
interface Package {
  readonly Tokenizer: new (file: object, config: object) => Tokenizer;
}

/** Texts as numbers of tokens, cut and filled up to one length. */
export interface TextEncoder {
  /** `ids` and `kinds` (token types) of `length` positions, of which the first `used` are the text's. */
  encode(text: string): { readonly ids: readonly number[]; readonly kinds: readonly number[]; readonly used: number };
}

/**
 * The tokenizer of a `tokenizer.json` (Hugging Face's format). A text that is too long loses its last tokens, but none of those that the tokenizer puts after it.
 * @param pad the token that fills up; by default the one that the file names, or [PAD], <pad> and the like.
 */
export async function openTokenizer(
  file: string,
  length: number,
  pad: number | undefined,
  at: string | undefined,
): Promise<TextEncoder> {
  // prettier-ignore
  if (statSync(file).size > limits.tokenizer) throw dataError(`is larger than ${limits.tokenizer / 2 ** 20} MiB`, file);
  const load = (): Promise<unknown> => import('@huggingface/tokenizers');
  const { Tokenizer } = (await loadNative(native, load)) as Package;
  let parsed: { readonly padding?: { readonly pad_id?: unknown } | null };
  let tokenizer: Tokenizer;
  try {
    parsed = JSON.parse(readFileSync(file, 'utf8')) as typeof parsed;
    tokenizer = new Tokenizer(parsed, {});
  } catch (error) {
    throw dataError(`is no tokenizer.json: ${messageOf(error)}`, file, undefined, error);
  }
  const named = ['[PAD]', '<pad>', '<|pad|>', '<|endoftext|>', '</s>'].map((token) => tokenizer.token_to_id(token));
  const given = typeof parsed.padding?.pad_id === 'number' ? parsed.padding.pad_id : undefined;
  const filler = pad ?? given ?? named.find((id) => id !== undefined);
  if (filler === undefined)
    throw dataError('the tokenizer names no token to fill up with', at, 'Give it: pad: <number of the token>.');
  const encoded = (text: string, special: boolean): { ids: number[]; kinds: number[] } => {
    const { ids, token_type_ids } = tokenizer.encode(text, {
      add_special_tokens: special,
      return_token_type_ids: true,
    });
    return { ids, kinds: token_type_ids };
  };
  const [none, bare] = [encoded('a', true), encoded('a', false)];
  const around = none.ids.length - bare.ids.length;
  const head = Math.max(
    0,
    none.ids.findIndex((_, i) => bare.ids.every((id, k) => none.ids[i + k] === id)),
  );
  const tail = around - head;
  if (around >= length)
    throw dataError(`length ${length} leaves no place beside the ${around} tokens that the tokenizer adds`, at);
  return {
    encode(text) {
      if (text.length > limits.characters) throw dataError(`a text has ${text.length} characters, more than ${limits.characters}`, at); // prettier-ignore
      const { ids, kinds } = encoded(text, true);
      const cut = <T>(list: readonly T[]): T[] =>
        list.length <= length ? [...list] : [...list.slice(0, length - tail), ...list.slice(list.length - tail)];
      const [own, types] = [cut(ids), cut(kinds)];
      const fill = length - own.length;
      return {
        ids: [...own, ...new Array<number>(fill).fill(filler)],
        kinds: [...types, ...new Array<number>(fill).fill(0)],
        used: own.length,
      };
    },
  };
}
