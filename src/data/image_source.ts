import type { ModelInput } from '../graph/query.ts';
import { decodeImage } from './image.ts';
import type { IndexedSource, Opening, Reader } from './source.ts';
import { compileTransforms } from './transforms.ts';
import type { Tree } from './tree.ts';
import type { Tensor } from './types.ts';

export interface ImageEntry {
  readonly file: string;
  /** One class index, or one a position. */
  readonly label?: number | readonly number[];
}

/** A source over image files of a folder or archive, decoded and transformed when asked. */
export function imageSource(
  facts: Pick<IndexedSource, 'kind' | 'source' | 'labelled' | 'notes'>,
  tree: Tree,
  entries: readonly ImageEntry[],
  input: ModelInput,
  { transforms }: Opening,
): IndexedSource {
  const apply = compileTransforms(transforms, input);
  return {
    ...facts,
    access: 'index',
    pixels: true,
    length: entries.length,
    identity: (index) => tree.identity(entries[index]!.file),
    files: (index) => [tree.holder(entries[index]!.file)],
    async open(): Promise<Reader> {
      const reader = tree.open();
      const places: Tensor[] = [];
      return {
        async read(index, over, change) {
          const { file, label } = entries[index]!;
          const id = tree.identity(file);
          const pixels = await decodeImage(reader.read(file), id);
          const tensor = apply(pixels, id, over === undefined ? undefined : places[over]?.data, change);
          if (over !== undefined) places[over] = tensor;
          const feeds = { [input.name]: tensor };
          return label === undefined
            ? { id, feeds }
            : { id, feeds, target: { label: Int32Array.from(typeof label === 'number' ? [label] : label) } };
        },
        close: () => reader.close(),
      };
    },
  };
}
