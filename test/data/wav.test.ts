import { join } from 'node:path';
import { parseDataConfig } from '../../src/data/config.ts';
import { openData } from '../../src/data/open.ts';
import { readWav } from '../../src/data/wav.ts';
import { failure, floatInput, numbers, samplesOf, temporaryFolder } from './support.ts';
import type { ModelInput } from '../../src/graph/query.ts';

interface Kind {
  readonly bits?: number;
  readonly format?: number;
  readonly channels?: number;
  readonly rate?: number;
  readonly extensible?: boolean;
  /** What the header says of the data's size. */
  readonly size?: number;
}

/** A WAV file by the specification, with a chunk of odd length before the data. */
function wav(
  data: Uint8Array,
  { bits = 16, format = 1, channels = 1, rate = 8000, extensible = false, size = data.length }: Kind = {},
): Uint8Array {
  // prettier-ignore
  const word = (value: number, bytes: number): number[] => Array.from({ length: bytes }, (_, i) => Math.floor(value / 256 ** i) % 256); // prettier-ignore
  const ascii = (text: string): number[] => [...text].map((c) => c.charCodeAt(0));
  const width = (channels * bits) / 8;
  const plain = [...word(extensible ? 0xfffe : format, 2), ...word(channels, 2), ...word(rate, 4), ...word(rate * width, 4), ...word(width, 2), ...word(bits, 2)]; // prettier-ignore
  const fmt = extensible ? [...plain, ...word(22, 2), ...word(bits, 2), ...word(0, 4), ...word(format, 2), ...word(0, 14)] : plain; // prettier-ignore
  const odd = [...ascii('LIST'), ...word(3, 4), 1, 2, 3, 0];
  const body = [...ascii('WAVEfmt '), ...word(fmt.length, 4), ...fmt, ...odd, ...ascii('data'), ...word(size, 4), ...data]; // prettier-ignore
  return Uint8Array.from([...ascii('RIFF'), ...word(body.length, 4), ...body]);
}
const bytesOf = (array: ArrayBufferView): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength); // prettier-ignore
const sixteen = (...values: number[]): Uint8Array => bytesOf(Int16Array.from(values));

describe('readWav', () => {
  it.each<[string, Uint8Array, Kind, number[]]>([
    ['8 bits, unsigned', Uint8Array.of(0, 128, 255), { bits: 8 }, [-1, 0, 127 / 128]],
    ['16 bits', sixteen(-32768, 0, 16384), {}, [-1, 0, 0.5]],
    ['24 bits', Uint8Array.of(0, 0, 0x80, 0xff, 0xff, 0xff, 0, 0, 0x40, 1, 0, 0), { bits: 24 }, [-1, -1 / 2 ** 23, 0.5, 1 / 2 ** 23]], // prettier-ignore
    ['32 bits', bytesOf(Int32Array.of(-(2 ** 31), 2 ** 30)), { bits: 32 }, [-1, 0.5]],
    ['floats', bytesOf(Float32Array.of(-0.25, 1.5)), { bits: 32, format: 3 }, [-0.25, 1.5]],
    ['doubles', bytesOf(Float64Array.of(-0.25, 1.5)), { bits: 64, format: 3 }, [-0.25, 1.5]],
    ['extensible', sixteen(8192), { extensible: true }, [0.25]],
    ['two channels, by their mean', sixteen(16384, 0, -32768, -16384), { channels: 2 }, [0.25, -0.75]],
    ['a size that was not known', sixteen(8192, 16384), { size: 0xffffffff }, [0.25, 0.5]],
  ])('reads %s', (_, data, kind, wanted) => {
    const sound = readWav(wav(data, kind), 'a.wav');
    expect([sound.rate, sound.length, [...sound.values(0, sound.length)]]).toEqual([8000, wanted.length, wanted]);
  });

  it('is silent beyond the end', () => {
    expect([...readWav(wav(sixteen(8192, 16384)), 'a.wav').values(1, 3)]).toEqual([0.5, 0, 0]);
  });

  it.each<[string, Uint8Array, RegExp]>([
    ['text', Uint8Array.of(1, 2, 3), /a\.wav is no WAV file/],
    ['an end before its time', wav(sixteen(1, 2), { size: 8 }), /a\.wav ends before its data does: 4 of 8 bytes/],
    ['ADPCM', wav(sixteen(1), { format: 2 }), /a\.wav is coded as format 2 of 16 bits/],
    ['no channels', wav(sixteen(1), { channels: 0 }), /a\.wav has a damaged format/],
    ['no data', wav(sixteen(1)).subarray(0, 48), /a\.wav has no data/],
  ])('refuses %s', async (_, bytes, expected) => {
    expect(await failure(async () => readWav(bytes, 'a.wav'))).toMatch(expected);
  });
});

/** With a place for the inputs in each row: jest takes a missing argument for a callback. */
const three = (rows: readonly (readonly [string, RegExp, ModelInput[]?])[]) => rows.map(([text, expected, inputs]) => [text, expected, inputs] as const); // prettier-ignore

describe('kind: wav', () => {
  const folder = temporaryFolder();
  folder.write('sounds/a.wav', wav(sixteen(8192, 16384, 24576)));
  folder.write('sounds/b/c.wav', wav(sixteen(-8192, -16384)));
  folder.write('sounds/notes.txt', 'no sound');
  const open = (text: string, inputs: readonly ModelInput[] = [floatInput('x', 'N', 'T')], more = '') =>
    openData(parseDataConfig(`validation: { kind: wav, path: sounds, shuffle: false${text} }\n${more}`, join(folder.path, 'd.yaml')), inputs, { part: 'validation' }); // prettier-ignore
  const rows = async (...given: Parameters<typeof open>) => (await samplesOf((await open(...given)).validation)).map((sample) => [sample.id, sample.feeds['x']!.dims, numbers(sample, 'x')]); // prettier-ignore

  it('gives whole files, or frames of which the last is filled with silence', async () => {
    expect(await rows(', rate: 8000')).toEqual([['a.wav', [1, 3], [0.25, 0.5, 0.75]], ['b/c.wav', [1, 2], [-0.25, -0.5]]]); // prettier-ignore
    const frames = [['a.wav#0', [1, 1, 2], [0.25, 0.5]], ['a.wav#1', [1, 1, 2], [0.75, 0]], ['b/c.wav#0', [1, 1, 2], [-0.25, -0.5]]]; // prettier-ignore
    expect(await rows(', rate: 8000, frame: 2', [floatInput('x', 'N', 1, 'T')])).toEqual(frames);
  });

  it('gives steps where a state is fed back, with other inputs of one value', async () => {
    const inputs = [floatInput('x', 'N', 2), floatInput('h', 'N', 3), { name: 'sr', type: 'int64', dims: [] } as const];
    const text = ', rate: 8000, frame: 2, values: { sr: 8000 }';
    const all = [['a.wav', [1, 2, 1, 2], [0.25, 0.5, 0.75, 0]], ['b/c.wav', [1, 1, 1, 2], [-0.25, -0.5]]]; // prettier-ignore
    expect(await rows(text, inputs, 'state: { h: hn }')).toEqual(all);
    const { validation } = await open(text, inputs, 'state: { h: hn }');
    expect((await samplesOf(validation, 1))[0]!.feeds['sr']!.data).toEqual(BigInt64Array.of(8000n));
  });

  it.each(
    three([
      ['', /d\.yaml:1:\d+ .*rate/],
      [', rate: 16000', /sounds\/a\.wav has 8000 values a second, and rate says 16000 \(Nothing is resampled/],
      [
        ', rate: 8000, frame: 2',
        /2 values do not make the model input "x", which is \[N, 5\]/,
        [floatInput('x', 'N', 5)],
      ],
      [', rate: 8000', /nothing is said of the model input "y" beside "x"/, [floatInput('x', 'N', 'T'), floatInput('y', 'N')]], // prettier-ignore
      [', rate: 8000, values: { z: 1 }', /no input "z"/],
      [', rate: 8000, values: { x: 1 }', /`values` leave no input to feed/],
    ]),
  )('refuses %s', async (text, expected, inputs) => {
    expect(await failure(() => open(text, inputs))).toMatch(expected);
  });

  it('says when there is no sound', async () => {
    folder.write('none/x.txt', '');
    const config = parseDataConfig('validation: { kind: wav, path: none, rate: 8000 }', join(folder.path, 'd.yaml'));
    expect(await failure(() => openData(config, [floatInput('x', 'N', 'T')], { part: 'validation' }))).toMatch(/none holds no \.wav files/); // prettier-ignore
  });
});
