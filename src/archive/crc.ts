// CRC-32 as in zip and PNG (ISO 3309, reflected polynomial 0xEDB88320), four bytes at a time (Kounavis and Berry 2005).

const table = new Int32Array(1024);
for (let n = 0; n < 1024; n++) {
  let crc = n < 256 ? n : table[n - 256]!;
  if (n < 256) for (let k = 0; k < 8; k++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  else crc = (crc >>> 8) ^ table[crc & 255]!;
  table[n] = crc;
}

/** The checksum of bytes. */
export function crc32(bytes: Uint8Array): number {
  let crc = -1;
  let i = 0;
  for (; i + 4 <= bytes.length; i += 4) {
    crc ^= bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
    crc =
      table[768 | (crc & 255)]! ^
      table[512 | ((crc >>> 8) & 255)]! ^
      table[256 | ((crc >>> 16) & 255)]! ^
      table[crc >>> 24]!;
  }
  for (; i < bytes.length; i++) crc = (crc >>> 8) ^ table[(crc ^ bytes[i]!) & 255]!;
  return ~crc >>> 0;
}
