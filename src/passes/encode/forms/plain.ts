import type { Form } from '../form.ts';
import { valuesOf } from '../source.ts';

/** The elements as they are: what the mask and the values of a sparse tensor fall back to. */
export const plain: Form = (source) => [
  {
    form: 'plain',
    detail: source.type,
    opset: 1,
    length: source.count,
    work: 0,
    write: (store) => store.tensor(source.type, [source.count], () => valuesOf(source.type, source.symbols())),
  },
];
