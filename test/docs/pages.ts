import { readFileSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository, with a slash at its end. */
export const root = fileURLToPath(new URL('../../', import.meta.url));

/** A fenced block of a page: ```` ```yaml fragment ```` is of the language yaml, and marked `fragment`. */
export interface Block {
  /** The page from the repository's root. */
  readonly page: string;
  /** The line it begins at. */
  readonly line: number;
  readonly language: string;
  readonly mark: string;
  readonly text: string;
}

/** Every page of the repository that a reader may open. */
export const pages: readonly string[] = ['.', 'docs', 'examples', 'bench'].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: folder !== '.', encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => relative('.', join(folder, name))),
);

export const pageText = (page: string): string => readFileSync(join(root, page), 'utf8');

const fence = /^( *)```([^\s`]*)[^\S\n]*([^\n]*)\n(.*?)^\1```$/gms;

export function blocksOf(page: string): Block[] {
  const text = pageText(page);
  return [...text.matchAll(fence)].map(({ index, 1: indent = '', 2: language = '', 3: mark = '', 4: body = '' }) => ({
    ...{ page, language, mark, line: text.slice(0, index).split('\n').length },
    text: body.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
  }));
}

/** A page without its code, where nothing is a heading or a link. */
const prose = (page: string): string =>
  pageText(page)
    .replace(fence, '')
    .replace(/^ {4}.*$/gm, '')
    .replace(/`[^`\n]+`/g, (code) => code.replace(/[[\]]/g, ''));

/** The names that GitHub gives a page's headings: lower case, no punctuation, dashes for blanks. */
export function anchorsOf(page: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, title = ''] of prose(page).matchAll(/^#{1,6} +(.+?)\s*$/gm)) {
    const plain = title.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
    const name = plain.replace(/[^\p{L}\p{N}\s_-]/gu, '').replace(/\s/g, '-');
    for (let i = 0; ; i++) {
      const anchor = i === 0 ? name : `${name}-${i}`;
      if (anchors.has(anchor)) continue;
      anchors.add(anchor);
      break;
    }
  }
  return anchors;
}

/** Where the links of a page lead, those to other hosts left out. */
export const linksOf = (page: string): string[] =>
  [...prose(page).matchAll(/\]\(([^()\s]+)\)/g)].map(([, to = '']) => to).filter((to) => !/^[a-z]+:/i.test(to));
