import { statSync } from 'node:fs';
import { elementCount } from '../graph/tensor.ts';
import { cast } from './cast.ts';
import type { SourceConfigOf } from './config.ts';
import { oneInputAnd } from './constant_inputs.ts';
import { dataError } from './errors.ts';
import { isSequence } from './steps.ts';
import { limits } from './limits.ts';
import type { IndexedSource, Opening } from './source.ts';
import { openTree, type Tree, type TreeReader } from './tree.ts';
import { readWav, type Sound } from './wav.ts';

/** The samples of one file: the frame at which each begins, and how many frames it holds. */
interface Entry {
  readonly file: string;
  readonly frame: number;
  readonly frames: number;
  /** Values of a frame. */
  readonly length: number;
}

/**
 * Sounds of a folder of WAV files, mixed to one channel: each file whole, or cut into frames of so many values, the last filled up with silence. Where a model's state
 * is fed back, a file is one sample of its frames as steps. Nothing is resampled.
 * @throws QtoolError `data` for files of another rate.
 */
export function openWav(config: SourceConfigOf<'wav'>, opening: Opening): IndexedSource {
  const path = opening.find(config.path, 'path');
  const tree = openTree(path, true);
  const files = tree.files().filter((file) => /\.wave?$/i.test(file));
  if (files.length === 0) throw dataError('holds no .wav files', path);
  const { input, others } = oneInputAnd(config.values ?? {}, config.input, opening);
  const steps = isSequence(input);
  if (steps && config.frame === undefined)
    throw dataError('frame is missing: how many values is a step?', opening.at());
  const reader = tree.open();
  let made = 0;
  const entries = files.flatMap((file): Entry[] => {
    const { rate, length } = soundOf(tree, reader, file);
    if (rate !== config.rate)
      throw dataError(`has ${rate} values a second, and rate says ${config.rate}`, `${path}/${file}`, 'Nothing is resampled: convert the files before.'); // prettier-ignore
    if (length === 0) throw dataError('is of no length', `${path}/${file}`);
    const frame = config.frame ?? length;
    const frames = Math.ceil(length / frame);
    made += frames;
    if (made > limits.frames) throw dataError(`frames of ${frame} values are more than ${limits.frames}`, opening.at('frame'), 'Give a longer frame, or fewer files.'); // prettier-ignore
    if (steps) return [{ file, frame: 0, frames, length: frame }];
    return Array.from({ length: frames }, (_, i) => ({ file, frame: i, frames: 1, length: frame }));
  });
  reader.close();
  const shapeOf = ({ frames, length }: Entry): number[] => {
    const wanted = input.dims;
    if (wanted === undefined) return [1, length];
    if (wanted.length === 1) return [length];
    // Sizes that are open are 1, but for the last, the values.
    const row = wanted.slice(steps ? 2 : 1).map((dim) => (typeof dim === 'number' ? dim : 1));
    if (typeof wanted.at(-1) === 'string' && row.length > 0) row[row.length - 1] = length / elementCount(row.slice(0, -1)); // prettier-ignore
    return steps ? [1, frames, ...row] : [1, ...row];
  };
  for (const entry of entries) {
    const dims = shapeOf(entry);
    if (elementCount(dims) !== entry.length * entry.frames)
      throw dataError(`${entry.length} values do not make the model input "${input.name}", which is [${input.dims?.join(', ') ?? ''}]`, opening.at('frame') ?? path, 'frame says how many values a sample has.'); // prettier-ignore
  }
  const id = ({ file, frame }: Entry): string => (config.frame === undefined || steps ? file : `${file}#${frame}`);
  return {
    access: 'index',
    kind: 'wav',
    source: config.path,
    length: entries.length,
    labelled: false,
    notes: [],
    identity: (index) => `${tree.identity(entries[index]!.file)}#${entries[index]!.frame}`,
    files: (index) => [tree.holder(entries[index]!.file)],
    async open() {
      const files = tree.open();
      let last: { readonly file: string; readonly sound: Sound } | undefined;
      return {
        read(index) {
          const entry = entries[index]!;
          if (last?.file !== entry.file) last = { file: entry.file, sound: soundOf(tree, files, entry.file) };
          const values = last.sound.values(entry.frame * entry.length, entry.frames * entry.length);
          const data = cast(values, 'float32', input.type, `the sound "${entry.file}"`);
          return {
            id: id(entry),
            feeds: { [input.name]: { type: input.type, dims: shapeOf(entry), data }, ...others },
          };
        },
        close: () => files.close(),
      };
    },
  };
}

function soundOf(tree: Tree, reader: TreeReader, file: string): Sound {
  const at = `${tree.name}/${file}`;
  const refuse = (): never => {
    throw dataError(`is larger than ${limits.sound / 2 ** 20} MiB`, at, 'Cut it into parts.');
  };
  // Of an archive the size is that of all its files.
  if (tree.holder(file).endsWith(file) && statSync(tree.holder(file)).size > limits.sound) refuse();
  const bytes = reader.read(file);
  return bytes.length > limits.sound ? refuse() : readWav(bytes, at);
}
