import { crc32, deflateSync } from 'node:zlib';
import sharp, { type Sharp } from 'sharp';
import { decodeImage } from '../../src/data/image.ts';
import { decodePng } from '../../src/data/png.ts';
import { failure, pattern } from './support.ts';

const raw = { width: 31, height: 17, channels: 3 } as const;
const source = (): Sharp => sharp(pattern(31 * 17 * 3), { raw });
/** What the general decoder makes of it. */
const reference = async (bytes: Uint8Array): Promise<Uint8Array> =>
  new Uint8Array(await sharp(bytes).toColourspace('srgb').removeAlpha().raw().toBuffer());

describe('decodePng', () => {
  it.each([
    ['RGB, all row filters', () => source().png({ adaptiveFiltering: true, compressionLevel: 1 })],
    ['RGB, no filters', () => source().png({ adaptiveFiltering: false })],
    ['RGB with alpha', () => source().ensureAlpha(0.5).png({ adaptiveFiltering: true })],
    ['palette', () => source().png({ palette: true, colours: 64 })],
    ['grey', () => source().toColourspace('b-w').png({ adaptiveFiltering: true })],
  ])('decodes %s as the general decoder does', async (_, make) => {
    const bytes = new Uint8Array(await make().toBuffer());
    const pixels = decodePng(bytes);
    expect(pixels).toMatchObject({ width: 31, height: 17, channels: 3 });
    expect(Buffer.compare(Buffer.from(pixels!.data), Buffer.from(await reference(bytes)))).toBe(0);
  });

  it.each([
    ['interlaced', () => source().png({ progressive: true })],
    ['16 bits', () => source().toColourspace('rgb16').png()],
    ['4-bit palettes', () => source().png({ palette: true, colours: 8 })],
    ['JPEG', () => source().jpeg()],
  ])('leaves %s to the general decoder, and so decodes it all the same', async (_, make) => {
    const bytes = new Uint8Array(await make().toBuffer());
    expect(decodePng(bytes)).toBeUndefined();
    const pixels = await decodeImage(bytes, 'x');
    expect(pixels).toMatchObject({ width: 31, height: 17, channels: 3 });
    expect(Buffer.compare(Buffer.from(pixels.data), Buffer.from(await reference(bytes)))).toBe(0);
  });

  it.each([0, 1, 2, 3, 4])('undoes row filter %i on any bytes', async (filter) => {
    const rows = pattern(17 * 94).map((byte, i) => (i % 94 === 0 ? filter : byte));
    const head = Buffer.alloc(13);
    head.writeUInt32BE(31, 0);
    head.writeUInt32BE(17, 4);
    head.set([8, 2, 0, 0, 0], 8);
    const chunk = (name: string, body: Uint8Array): Buffer => {
      const part = Buffer.concat([Buffer.alloc(4), Buffer.from(name, 'latin1'), body, Buffer.alloc(4)]);
      part.writeUInt32BE(body.length, 0);
      part.writeUInt32BE(crc32(part.subarray(4, -4)), part.length - 4);
      return part;
    };
    const signature = Buffer.from('89504e470d0a1a0a', 'hex');
    const bytes = Buffer.concat([signature, chunk('IHDR', head), chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))]); // prettier-ignore
    const pixels = decodePng(bytes);
    expect(Buffer.compare(Buffer.from(pixels!.data), Buffer.from(await reference(bytes)))).toBe(0);
  });

  it('sees every damaged byte, by its checksums', async () => {
    const bytes = new Uint8Array(await source().png({ palette: true, colours: 64 }).toBuffer());
    for (let i = 0; i < bytes.length; i++) {
      const damaged = bytes.slice();
      damaged[i]! ^= 0x20;
      expect(decodePng(damaged)).toBeUndefined();
    }
    expect(decodePng(bytes.subarray(0, bytes.length - 20))).toBeUndefined();
  });
});

describe('decodeImage', () => {
  it('makes three equal channels of a grey JPEG', async () => {
    const bytes = new Uint8Array(await source().toColourspace('b-w').jpeg().toBuffer());
    const { channels, data } = await decodeImage(bytes, 'x');
    expect(channels).toBe(3);
    expect(data).toHaveLength(31 * 17 * 3);
    for (let i = 0; i < data.length; i += 3) expect([data[i + 1], data[i + 2]]).toEqual([data[i], data[i]]);
  });

  it('says which file does not decode', async () => {
    expect(await failure(() => decodeImage(Buffer.from('no image'), 'a/b.png'))).toMatch(/^\[data\] a\/b\.png the image does not decode: .+ \(Replace/); // prettier-ignore
    const cut = (await source().jpeg().toBuffer()).subarray(0, 300);
    expect(await failure(() => decodeImage(cut, 'cut.jpg'))).toMatch(/cut\.jpg the image does not decode/);
  });
});
