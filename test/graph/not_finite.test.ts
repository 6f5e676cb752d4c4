import { notFinite } from '../../src/graph/not_finite.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { toFloat16 } from '../../src/numerics/float16.ts';
import { toBfloat16 } from '../helpers/bfloat16.ts';

const broken = Float32Array.of(1, 2, NaN, Infinity);

describe('notFinite', () => {
  it('names the first number that is none, in every type of floats', () => {
    expect(notFinite(makeTensor('w', 'float32', [4], broken))).toBe('holds NaN at element 2 of 4');
    expect(notFinite(makeTensor('w', 'float64', [2], Float64Array.of(1, -Infinity)))).toBe(
      'holds -Infinity at element 1 of 2',
    );
    expect(notFinite(makeTensor('w', 'float16', [4], toFloat16(broken)))).toBe('holds NaN at element 2 of 4');
    expect(notFinite(makeTensor('w', 'bfloat16', [4], toBfloat16(broken)))).toBe('holds NaN at element 2 of 4');
  });

  it('has nothing to say of finite numbers and of integers', () => {
    expect(notFinite(makeTensor('w', 'float32', [2], Float32Array.of(1, -3e38)))).toBeUndefined();
    expect(notFinite(makeTensor('w', 'float16', [1], toFloat16(Float32Array.of(65504))))).toBeUndefined();
    expect(notFinite(makeTensor('w', 'int64', [1], BigInt64Array.of(1n)))).toBeUndefined();
  });
});
