import { gzipSync } from 'node:zlib';
import { idxRows } from '../../src/data/idx.ts';
import { npyRows, npzArrays } from '../../src/data/npy.ts';
import { readLabels } from '../../src/data/rows.ts';
import type { Rows } from '../../src/data/source.ts';
import { openTree } from '../../src/data/tree.ts';
import { zipEntries } from '../../src/data/zip.ts';
import * as fixtures from './fixtures.ts';
import { base64, failure, gunzip64, temporaryFolder } from './support.ts';

const folder = temporaryFolder();
const rowsOf = (rows: Rows): unknown[] => {
  const reader = rows.open();
  try {
    return Array.from({ length: rows.dims[0]! }, (_, i) => Array.from(reader.row(i) as ArrayLike<number | bigint>));
  } finally {
    reader.close();
  }
};

describe('IDX', () => {
  const idx = (type: number, dims: number[], ...bytes: number[]): Uint8Array =>
    Uint8Array.of(0, 0, type, dims.length, ...dims.flatMap((d) => [0, 0, 0, d]), ...bytes);

  it('reads rows of bytes and of big-endian numbers', () => {
    const bytes = idxRows(folder.write('a-idx3', idx(8, [2, 2, 2], 1, 2, 3, 4, 5, 6, 7, 255)));
    expect(bytes).toMatchObject({ type: 'uint8', dims: [2, 2, 2] });
    expect(rowsOf(bytes)).toEqual([[1, 2, 3, 4], [5, 6, 7, 255]]); // prettier-ignore
    const shorts = idxRows(folder.write('b-idx1', idx(0x0b, [2], 1, 0, 255, 254)));
    expect([shorts.type, rowsOf(shorts)]).toEqual(['int16', [[256], [-2]]]);
    const floats = idxRows(folder.write('c-idx1', idx(0x0d, [1], 0x3f, 0xc0, 0, 0)));
    expect([floats.type, rowsOf(floats)]).toEqual(['float32', [[1.5]]]);
  });

  it('reads gzipped files', () => {
    expect(rowsOf(idxRows(folder.write('d.gz', gzipSync(idx(8, [2], 9, 8)))))).toEqual([[9], [8]]);
  });

  it('says what is wrong with a file', async () => {
    expect(await failure(() => idxRows(folder.write('text', 'hello, world')))).toMatch(/text is not an IDX file/);
    expect(await failure(() => idxRows(folder.write('cut', idx(8, [3], 1, 2))))).toMatch(/cut has 10 bytes where its header asks for 11/); // prettier-ignore
    expect(await failure(() => idxRows(folder.write('bad.gz', 'x')))).toMatch(/bad\.gz does not unpack/);
  });
});

describe('NumPy', () => {
  const npy = (text: string): Rows => npyRows(folder.write('x.npy', base64(text)));

  it('reads halves, big-endian, column-major and boolean arrays', () => {
    expect(npy(fixtures.npyHalf)).toMatchObject({ type: 'float16', dims: [2, 2] });
    expect(rowsOf(npy(fixtures.npyHalf))).toEqual([[0x3e00, 0xc000], [0x2e66, 0x7bff]]); // prettier-ignore
    expect(rowsOf(npy(fixtures.npyBigEndian))).toEqual([[1.5, -2], [3.25, 4]]); // prettier-ignore
    const big = (...n: number[]): bigint[] => n.map((x) => BigInt(x) * 10n ** 10n);
    expect(rowsOf(npy(fixtures.npyFortran))).toEqual([big(0, 1, 2, 3, 4, 5), big(6, 7, 8, 9, 10, 11)]);
    expect([npy(fixtures.npyBool).type, rowsOf(npy(fixtures.npyBool))]).toEqual(['bool', [[1], [0], [1]]]);
  });

  it('reads archives, stored (with ZIP64 headers) and compressed', () => {
    const stored = npzArrays(folder.write('a.npz', base64(fixtures.npzStored)));
    expect([...stored.keys()]).toEqual(['x', 'labels']);
    expect(rowsOf(stored.get('x')!())).toEqual([[0, 1], [2, 3], [4, 5]]); // prettier-ignore
    expect(readLabels(stored.get('labels')!())).toEqual({ values: Int32Array.of(0, 1, 2), positions: 1 });
    const packed = npzArrays(folder.write('b.npz', base64(fixtures.npzCompressed)));
    expect(rowsOf(packed.get('x')!())).toEqual([[0, 1], [2, 3], [4, 5]]); // prettier-ignore
    expect(packed.get('y')!()).toMatchObject({ type: 'int32', dims: [3, 50] });
    expect(zipEntries(`${folder.path}/b.npz`)[1]).toMatchObject({ name: 'y.npy', method: 8, size: 728 });
  });

  it('says what is wrong with a file', async () => {
    expect(await failure(() => npy(fixtures.npyText))).toMatch(/holds elements '<U2', which no model input takes/);
    expect(await failure(() => npyRows(folder.write('t.npy', 'hello, hello, hello')))).toMatch(/is not a \.npy array/);
    const cut = base64(fixtures.npyHalf).slice(0, -2);
    expect(await failure(() => npyRows(folder.write('cut.npy', cut)))).toMatch(/cut\.npy has 134 bytes where its header asks for 136/); // prettier-ignore
    expect(await failure(() => npzArrays(folder.write('t.npz', 'hello')))).toMatch(/t\.npz is not a ZIP archive/);
    const damaged = base64(fixtures.npzCompressed);
    damaged[100]! ^= 1;
    const arrays = npzArrays(folder.write('d.npz', damaged));
    expect(await failure(() => arrays.get('x')!())).toMatch(/d\.npz:x\.npy (does not unpack|is damaged)/);
    // The packed size in the first entry of the central directory, which a reader would allocate.
    const lying = Buffer.from(base64(fixtures.npzCompressed));
    lying.writeUInt32LE(0xfffffff0, lying.indexOf('PK\x01\x02', 'latin1') + 20);
    const lies = npzArrays(folder.write('l.npz', lying));
    expect(await failure(() => lies.get('x')!())).toMatch(/l\.npz:x\.npy is of 4294967280 bytes where \d+ are left/);
  });

  it('takes only whole numbers as labels', async () => {
    expect(await failure(() => readLabels(npy(fixtures.npyBigEndian)))).toMatch(/label 1\.5 of sample 0 is not a class index/); // prettier-ignore
  });
});

describe('openTree', () => {
  it.each([
    ['GNU', fixtures.tarGnuGz],
    ['pax', fixtures.tarPaxGz],
  ])('reads files of a %s archive in place, long names too, hidden ones not', async (name, packed) => {
    const long = `a/${'x'.repeat(110)}.txt`;
    const path = folder.write(`${name}.tar`, gunzip64(packed));
    const whole = openTree(path);
    expect(whole.files()).toEqual([`top/${long}`, 'top/b/2.txt']);
    const tree = openTree(path, true);
    expect(tree.files()).toEqual([long, 'b/2.txt']);
    expect([tree.has('b/2.txt'), tree.has('top/b/2.txt')]).toEqual([true, false]);
    const reader = tree.open();
    expect(Buffer.from(reader.read(long)).toString()).toBe('two');
    expect(Buffer.from(reader.read('b/2.txt')).toString()).toBe('one');
    reader.close();
  });

  it('lists a folder in alphabetical order', async () => {
    folder.write('t/b/1.txt', 'x');
    folder.write('t/a/2.txt', 'y');
    folder.write('t/.git/3.txt', 'z');
    const tree = openTree(`${folder.path}/t`);
    expect(tree.files()).toEqual(['a/2.txt', 'b/1.txt']);
    expect(Buffer.from(tree.open().read('a/2.txt')).toString()).toBe('y');
  });

  it.each([
    ['-0000001000', /n\.tar:a\.txt has an entry of the size "-0000001000"/],
    ['00000002000', /n\.tar:a\.txt the archive is cut off/],
    ['77777777777', /n\.tar:a\.txt the archive is cut off/],
  ])('refuses an entry of the size %s in an archive of one block', async (size, expected) => {
    const head = Buffer.alloc(1024);
    head.write('a.txt');
    head.write(size, 124);
    head.write('0', 156);
    const sum = head.subarray(0, 512).reduce((a, b) => a + b, 8 * 32);
    head.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    expect(await failure(() => openTree(folder.write('n.tar', head)))).toMatch(expected);
  });

  it('says what is no archive', async () => {
    expect(await failure(() => openTree(folder.write('x.tar', 'a'.repeat(600))))).toMatch(
      /x\.tar is not a \.tar archive/,
    );
    expect(await failure(() => openTree(folder.write('x.txt', 'a')))).toMatch(/neither a folder nor a \.tar archive/);
  });
});
