import { statSync } from 'node:fs';
import { crc32, inflateRawSync } from 'node:zlib';
import { dataError, messageOf } from './errors.ts';
import { readPart } from './files.ts';

/** One file in a ZIP archive; `offset` is where its (packed) bytes begin. */
export interface ZipEntry {
  readonly name: string;
  /** 0 stored, 8 deflated. */
  readonly method: number;
  readonly crc: number;
  readonly packedSize: number;
  readonly size: number;
  readonly offset: number;
}

/**
 * Lists a ZIP archive from its central directory, ZIP64 included, without reading the contents: uncompressed entries can then
 * be read in place, which general unzip libraries do not offer. Source: PKWARE APPNOTE.TXT 6.3, sections 4.3 and 4.5.3.
 * @throws QtoolError `data` where it is no archive, or encrypted or packed by another method than deflate.
 */
export function zipEntries(file: string): ZipEntry[] {
  const total = statSync(file).size;
  const tailLength = Math.min(total, 22 + 0xffff);
  const tail = Buffer.from(readPart(file, total - tailLength, tailLength));
  const end = tail.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'));
  if (end < 0 || end + 22 > tail.length) throw dataError('is not a ZIP archive', file, 'The file is cut off, or of another type.'); // prettier-ignore
  let count = tail.readUInt16LE(end + 10);
  let size = tail.readUInt32LE(end + 12);
  let start = tail.readUInt32LE(end + 16);
  const locator = end - 20;
  if (locator >= 0 && tail.readUInt32LE(locator) === 0x07064b50) {
    const wide = Buffer.from(readPart(file, Number(tail.readBigUInt64LE(locator + 8)), 56));
    if (wide.length === 56 && wide.readUInt32LE(0) === 0x06064b50) {
      count = Number(wide.readBigUInt64LE(32));
      size = Number(wide.readBigUInt64LE(40));
      start = Number(wide.readBigUInt64LE(48));
    }
  }
  const directory = Buffer.from(readPart(file, start, Math.min(size, total)));
  const entries: ZipEntry[] = [];
  for (let at = 0, i = 0; i < count; i++) {
    if (at + 46 > directory.length || directory.readUInt32LE(at) !== 0x02014b50) throw dataError('has a damaged ZIP directory', file); // prettier-ignore
    const nameLength = directory.readUInt16LE(at + 28);
    const extraLength = directory.readUInt16LE(at + 30);
    const name = directory.toString('utf8', at + 46, at + 46 + nameLength);
    const extra = directory.subarray(at + 46 + nameLength, at + 46 + nameLength + extraLength);
    entries.push(entry(file, directory.subarray(at, at + 46), name, extra));
    at += 46 + nameLength + extraLength + directory.readUInt16LE(at + 32);
  }
  return entries.filter(({ name }) => !name.endsWith('/'));
}

function entry(file: string, head: Buffer, name: string, extra: Buffer): ZipEntry {
  const at = `${file}:${name}`;
  const method = head.readUInt16LE(10);
  if ((head.readUInt16LE(8) & 1) === 1) throw dataError('is encrypted', at);
  if (method !== 0 && method !== 8) throw dataError(`is packed by method ${method}; only stored and deflated entries can be read`, at); // prettier-ignore
  // Sizes and offset of 0xffffffff stand as 64 bits in the extra field 1, in this order, only those that overflow.
  const fields = [head.readUInt32LE(24), head.readUInt32LE(20), head.readUInt32LE(42)];
  for (let i = 0; i + 4 <= extra.length; i += 4 + extra.readUInt16LE(i + 2)) {
    if (extra.readUInt16LE(i) !== 1) continue;
    let position = i + 4;
    for (const [which, value] of fields.entries())
      if (value === 0xffffffff && position + 8 <= extra.length) {
        fields[which] = Number(extra.readBigUInt64LE(position));
        position += 8;
      }
  }
  const [size, packedSize, local] = fields as [number, number, number];
  const header = Buffer.from(readPart(file, local, 30));
  if (header.length < 30 || header.readUInt32LE(0) !== 0x04034b50) throw dataError('has a damaged ZIP header', at);
  const offset = local + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
  return { name, method, crc: head.readUInt32LE(16), packedSize, size, offset };
}

/** The unpacked bytes of an entry, checked against its CRC. @throws QtoolError `data` where they are damaged. */
export function readEntry(file: string, { name, method, crc, packedSize, size, offset }: ZipEntry): Uint8Array {
  const at = `${file}:${name}`;
  const packed = readPart(file, offset, packedSize);
  if (packed.length < packedSize)
    throw dataError(`is of ${packedSize} bytes where ${packed.length} are left`, at, 'The archive is cut off or damaged.'); // prettier-ignore
  let bytes: Uint8Array;
  try {
    bytes = method === 0 ? packed : inflateRawSync(packed, { maxOutputLength: size + 1 });
  } catch (cause) {
    throw dataError(`does not unpack: ${messageOf(cause)}`, at, 'The archive is damaged.', cause);
  }
  if (bytes.length !== size || crc32(bytes) !== crc) throw dataError('is damaged (its checksum does not fit)', at);
  return bytes;
}
