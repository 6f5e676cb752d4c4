import { readFile } from 'node:fs/promises';

/** What a processor can do, as /proc/cpuinfo tells it; a set of one empty text elsewhere. */
export async function processorFlags(): Promise<ReadonlySet<string>> {
  const text = await readFile('/proc/cpuinfo', 'utf8').catch(() => '');
  return new Set((/^(?:flags|Features)\s*:\s*(.*)$/m.exec(text)?.[1] ?? '').split(/\s+/));
}

/** Whether sums of two 8-bit products saturate at 16 bits here: x64 with AVX2 or AVX-512, but no VNNI. */
export async function saturates(): Promise<boolean> {
  const flags = await processorFlags();
  return process.arch === 'x64' && flags.size > 1 && !flags.has('avx512_vnni') && !flags.has('avx_vnni');
}
