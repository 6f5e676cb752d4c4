import { bitsOf, bitsWork, bytesEach, castTo, decoderOpset, numbersOf, numbersWork } from '../decoders.ts';
import type { Form } from '../form.ts';
import { bitsFor, packPlanes, planeBytes } from '../planes.ts';

/**
 * Codes of 1 to 7 bits in bit planes, two's complement or unsigned. What INT4 and INT2 hold needs no newer operator set
 * this way, and 3, 5, 6 and 7 bits have no ONNX type at all.
 */
export const bits: Form = (source) => {
  const { least, most } = source.range();
  const signed = least < 0;
  const width = signed ? 1 + Math.max(bitsFor(-least - 1), bitsFor(Math.max(0, most))) : Math.max(1, bitsFor(most));
  if (source.type === 'float32' || width > 7) return [];
  const bytes = planeBytes(source.count);
  return [
    {
      form: 'bits',
      detail: `${width}-bit codes`,
      opset: decoderOpset,
      length: 8 * bytes,
      work: bitsWork(width * bytes) + numbersWork(width, 8 * bytes) + 8 * bytes * bytesEach(source.type),
      write(store) {
        const planes = store.tensor('uint8', [width * bytes], () => packPlanes(source.symbols(), width));
        return castTo(store, source.type, numbersOf(store, bitsOf(store, planes), width, signed));
      },
    },
  ];
};
