import { writtenFormat } from '../../../src/numerics/formats/written.ts';
import { formatCodes } from '../../../src/numerics/formats/apply.ts';
import { written } from './support.ts';

const problem = (value: unknown): string | undefined => {
  const { error } = writtenFormat.safeParse(value);
  expect(error?.issues ?? []).toHaveLength(error ? 1 : 0);
  return error?.issues[0]?.message;
};

it('reads names, options in a word, mappings and the short form of int', () => {
  expect(written('int4').label).toBe('int4');
  expect(written('fp8_e4m3').label).toBe('fp8_e4m3');
  expect(written('minifloat:exponent=3,mantissa=2').label).toBe('minifloat:exponent=3,mantissa=2');
  expect(writtenFormat.parse({ name: 'mxfp6', element: 'e3m2' }).label).toBe('mxfp6:element=e3m2');
  for (const text of ['log2:base=sqrt2,bits=4', 'weq:zero=false', 'fixed:fraction=mse', 'fixed:bits=8,fraction=3'])
    expect(written(written(text).label).label).toBe(written(text).label);
  expect(written('log2:base=2').label).toBe('log2');
});

it.each([
  ['nf5', 'no number format is called "nf5"'],
  ['fixed:bits=40', 'fixed: bits'],
  ['fixed:bits=x', 'fixed: bits'],
  ['shiftcnn:terms=9', 'shiftcnn: terms'],
  ['log2:base=3', 'log2: base'],
  ['mxfp6:element=e4m3', 'mxfp6: element'],
  ['codebook:start=best', 'codebook: start'],
  ['pact:clip=-1', 'pact: clip'],
  ['nvfp4:block=0', 'nvfp4: block'],
  ['hwgq:bits=6', 'hwgq: bits'],
  ['abc:base=3', 'did you mean "bases"'],
  ['residual:bases=2.5', 'residual: bases'],
])('%s is refused in one line', (text, part) => {
  expect(problem(text)).toContain(part);
  expect(problem(text)).not.toContain('\n');
});

it('refuses weights in a format of activations', () => {
  const weight = { data: Float32Array.of(1), rows: 1, columns: 1, kernel: [] };
  expect(() => formatCodes(written('hwgq'), weight, { at: 'weight "w"' })).toThrow(
    'hwgq cannot hold weights: its levels are for activations',
  );
});
