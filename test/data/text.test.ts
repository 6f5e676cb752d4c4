import { join } from 'node:path';
import { parseDataConfig } from '../../src/data/config.ts';
import { openData } from '../../src/data/open.ts';
import type { ModelInput } from '../../src/graph/query.ts';
import { failure, floatInput, numbers, samplesOf, temporaryFolder } from './support.ts';

const folder = temporaryFolder();
const vocabulary = { '[PAD]': 0, '[UNK]': 1, '[CLS]': 2, '[SEP]': 3, hello: 4, world: 5, '##s': 6 };
const special = (content: string) => ({ id: vocabulary[content as '[PAD]'], content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }); // prettier-ignore
/** A WordPiece tokenizer as BERT's, of seven tokens. */
const tokenizer = {
  version: '1.0',
  added_tokens: ['[PAD]', '[UNK]', '[CLS]', '[SEP]'].map(special),
  normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true }, // prettier-ignore
  pre_tokenizer: { type: 'BertPreTokenizer' },
  post_processor: { type: 'BertProcessing', sep: ['[SEP]', 3], cls: ['[CLS]', 2] },
  decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
  model: { type: 'WordPiece', unk_token: '[UNK]', continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab: vocabulary }, // prettier-ignore
};
folder.write('tokenizer.json', JSON.stringify(tokenizer));
folder.write('texts.txt', 'Hello worlds\n\nhello there\r\nhello hello hello hello hello\n');
folder.write('texts.jsonl', '{"text": "hello"}\n{"text": "world"}\n');
folder.write('broken.jsonl', '{"text": "hello"}\n{"txt": 1}\n');
folder.write('no.json', '{ "model": {} }');

const ids = (name: string): ModelInput => ({ name, type: 'int64', dims: ['N', 'T'] });
const open = (text: string, inputs = [ids('input_ids'), ids('attention_mask'), ids('token_type_ids')]) =>
  openData(parseDataConfig(`validation: { kind: text, shuffle: false, ${text} }`, join(folder.path, 'd.yaml')), inputs, { part: 'validation' }); // prettier-ignore
const path = 'path: texts.txt, tokenizer: tokenizer.json';

/** With a place for the inputs in each row: jest takes a missing argument for a callback. */
const three = (rows: readonly (readonly [string, RegExp, ModelInput[]?])[]) => rows.map(([text, expected, inputs]) => [text, expected, inputs] as const); // prettier-ignore

describe('kind: text', () => {
  it('gives tokens, cut before what the tokenizer adds, and filled up', async () => {
    const samples = await samplesOf((await open(`${path}, length: 6`)).validation);
    // By hand: [CLS] hello world ##s [SEP], lower-cased; an unknown word; five words cut to four.
    expect(samples.map((sample) => numbers(sample, 'input_ids'))).toEqual([
      [2, 4, 5, 6, 3, 0],
      [2, 4, 1, 3, 0, 0],
      [2, 4, 4, 4, 4, 3],
    ]);
    expect(samples.map((sample) => numbers(sample, 'attention_mask').join(''))).toEqual(['111110', '111100', '111111']);
    expect(numbers(samples[0], 'token_type_ids')).toEqual([0, 0, 0, 0, 0, 0]);
    expect(samples.map(({ id }) => id.slice(-2))).toEqual([':1', ':3', ':4']);
    expect(samples[0]!.feeds['input_ids']!.dims).toEqual([1, 6]);
  });

  it('takes records, other fillers, and models with fewer inputs', async () => {
    const text = 'path: texts.jsonl, tokenizer: tokenizer.json, length: 4, pad: 6';
    const samples = await samplesOf((await open(text, [ids('input_ids')])).validation);
    expect(samples.map((sample) => numbers(sample, 'input_ids'))).toEqual([[2, 4, 3, 6], [2, 5, 3, 6]]); // prettier-ignore
  });

  it.each(
    three([
      ['path: texts.txt', /d\.yaml:1:\d+ .*tokenizer/],
      ['path: texts.txt, tokenizer: none.json', /d\.yaml:1:\d+ .*none\.json/],
      ['path: texts.txt, tokenizer: no.json', /no\.json is no tokenizer\.json: /],
      ['path: texts.txt, tokenizer: texts.txt', /texts\.txt is no tokenizer\.json: /],
      [`${path}, length: 2`, /d\.yaml:1:\d+ length 2 leaves no place beside the 2 tokens/],
      [`${path}, length: 1000000`, /d\.yaml:1:\d+ .*length/],
      ['path: broken.jsonl, tokenizer: tokenizer.json', /broken\.jsonl:2 has no text "text"/],
      [path, /texts give input_ids, attention_mask, token_type_ids, and the model has an input "x"/, [floatInput('x', 'N')]], // prettier-ignore
    ]),
  )('refuses %s', async (text, expected, inputs) => {
    expect(await failure(() => open(text, inputs))).toMatch(expected);
  });
});
