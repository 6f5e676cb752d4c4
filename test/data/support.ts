import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import sharp from 'sharp';
import type { Batch, Dataset, Sample } from '../../src/data/types.ts';
import type { ModelInput } from '../../src/graph/query.ts';

/** A folder for one test file, removed when its tests are done. */
export function temporaryFolder(): {
  readonly path: string;
  write(name: string, content: string | Uint8Array): string;
} {
  const path = mkdtempSync(join(tmpdir(), 'qtool-data-'));
  afterAll(() => rmSync(path, { recursive: true, force: true }));
  return {
    path,
    write(name, content) {
      const file = join(path, name);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, content);
      return file;
    },
  };
}

export const base64 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'));
export const gunzip64 = (text: string): Uint8Array => new Uint8Array(gunzipSync(Buffer.from(text, 'base64')));

/** A PNG of one colour. */
export async function png(
  width: number,
  height: number,
  [r, g, b]: readonly [number, number, number],
): Promise<Uint8Array> {
  return sharp({ create: { width, height, channels: 3, background: { r, g, b } } })
    .png()
    .toBuffer();
}

export const floatInput = (name: string, ...dims: (number | string)[]): ModelInput => ({ name, type: 'float32', dims });

export async function samplesOf(dataset: Dataset, limit?: number): Promise<Sample[]> {
  const found: Sample[] = [];
  for await (const sample of dataset.samples(limit)) found.push(sample);
  return found;
}

export async function all(source: AsyncIterable<Batch>): Promise<Batch[]> {
  const found: Batch[] = [];
  for await (const batch of source) found.push(batch);
  return found;
}

/** The numbers of a sample's tensor. */
export function numbers(sample: Sample | undefined, name: string): number[] {
  return Array.from(sample!.feeds[name]!.data as ArrayLike<number>, Number);
}

/** What was thrown, as `at message (hint)`, for one match over all of it. */
export async function failure(run: () => unknown): Promise<string> {
  try {
    await run();
  } catch (error) {
    const { code, at, message, hint } = error as { code?: string; at?: string; message: string; hint?: string };
    return `[${code}] ${at ?? ''} ${message}${hint ? ` (${hint})` : ''}`;
  }
  return 'nothing was thrown';
}

/** Bytes without a pattern that a resize could hide behind; the same in the Python that made the expected values. */
export const pattern = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 37 + 11 * (i >> 2) + ((i * i) >> 3)) & 255);
