import fc from '../helpers/fc.ts';
import { channelStats, type ChannelStats } from '../../src/numerics/channel_stats.ts';

const numbers = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: -9, max: 9 })), { minLength: 1, maxLength: 60 });

it('is what a loop over each channel finds, for every axis, in parts', () => {
  const shape = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(shape, fc.nat(), numbers, fc.boolean(), (dims, a, pool, negative) => {
      const axis = a % dims.length;
      const size = dims.reduce((x, y) => x * y, 1);
      const tensor = (shift: number) => ({
        dims,
        data: Float32Array.from({ length: size }, (_, i) => pool[(i + shift) % pool.length] as number),
      });
      const [one, two] = [tensor(0), tensor(7)];
      const inner = dims.slice(axis + 1).reduce((x, y) => x * y, 1);
      const channels = dims[axis] as number;
      const fold = channelStats({ axis: negative ? axis - dims.length : axis });
      const got = fold.finish(fold.add(fold.add(fold.start(), one), two));
      for (let c = 0; c < channels; c++) {
        const values = [one, two].flatMap((t) => [...t.data].filter((_, e) => Math.floor(e / inner) % channels === c));
        const sum = (f: (v: number) => number) => values.reduce((s, v) => s + f(v), 0);
        expect(got.count).toBe(values.length);
        const at = (key: Exclude<keyof ChannelStats, 'channels' | 'count'>) => (got[key][c] as number) + 0;
        expect([at('min'), at('max')]).toEqual([Math.min(...values) + 0, Math.max(...values) + 0]);
        expect([at('sum'), at('sumSquares'), at('zeros')]).toEqual([
          sum((v) => v),
          sum((v) => v * v),
          sum((v) => (v === 0 ? 1 : 0)),
        ]);
      }
    }),
  );
});

it('says what is wrong', () => {
  const fold = channelStats({}, 'conv1_out');
  const state = fold.add(fold.start(), { dims: [1, 2], data: Float32Array.of(1, 2) });
  expect(() => fold.add(state, { dims: [1, 3], data: new Float32Array(3) })).toThrow('had 2 channels, now it has 3');
  expect(() => fold.add(fold.start(), { dims: [4], data: new Float32Array(4) })).toThrow('axis 1 does not exist');
  expect(() => fold.add(fold.start(), { dims: [1, 2], data: Float32Array.of(1, NaN) })).toThrow('NaN at element 1');
  expect(() => fold.add(fold.start(), { dims: [1, 2, 1], data: Float32Array.of(1, Infinity) })).toThrow(
    'Infinity at element 1',
  );
  expect(fold.finish(fold.start())).toMatchObject({ channels: 0, count: 0 });
  expect([...fold.finish(fold.add(fold.start(), { dims: [0, 2], data: new Float32Array(0) })).max]).toEqual([0, 0]);
});
