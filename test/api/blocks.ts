import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** A code block of a page. */
export interface Block {
  readonly language: 'js' | 'ts';
  readonly code: string;
  /** The line it begins at, to name it by. */
  readonly line: number;
}

/** The JavaScript and TypeScript of a page under docs/. */
export function codeBlocks(page: string): Block[] {
  const text = readFileSync(fileURLToPath(new URL(`../../docs/${page}`, import.meta.url)), 'utf8');
  return [...text.matchAll(/^```(js|ts)\n(.*?)^```$/gms)].map(([, language, code = ''], i, all) => ({
    language: language as Block['language'],
    code,
    line: text.slice(0, all[i]!.index).split('\n').length,
  }));
}
