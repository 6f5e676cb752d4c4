import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Block } from './pages.ts';

/** A command that a block runs, as the shell reads it. */
export interface Command {
  readonly block: Block;
  readonly words: readonly string[];
}

/** What blocks may call. Each is a function here that hands its words on, fields ended by \x1f and commands by \x1e; no program is found. */
const programs = ['git', 'make', 'node', 'npm', 'npx', 'pip', 'python', 'qtool'];
const nothing = [
  ...programs.map((name) => `${name}() { printf '%s\\x1f' ${name} "$@" >&3; printf '\\x1e' >&3; }`),
  ...['cd', 'eval', 'export'].map((name) => `${name}() { :; }`),
  'PATH=/nowhere\n',
].join('\n');

/**
 * The commands of shell blocks, in order: bash itself reads quotes, loops, comments and joined lines.
 * @throws where bash does not understand a block, or the block calls another program.
 */
export function commandsOf(blocks: readonly Block[]): Command[] {
  // Where what a block writes by `>` goes.
  const cwd = mkdtempSync(join(tmpdir(), 'qtool-blocks-'));
  try {
    return blocks.flatMap((block) => inBash(block, cwd));
  } finally {
    rmSync(cwd, { recursive: true });
  }
}

function inBash(block: Block, cwd: string): Command[] {
  // What stands for a name, `<folder>`, would be a redirection.
  const text = block.text.replace(/<([^<>\n]+)>/g, "'<$1>'");
  const { stderr, output } = spawnSync('bash', ['-c', `${nothing}${text}`], {
    ...{ cwd, encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe', 'pipe'] },
  });
  if (stderr !== '') throw new Error(`${block.page}:${block.line}: ${stderr}`);
  const calls = (output[3] ?? '').split('\x1e').slice(0, -1);
  return calls.map((call) => ({ block, words: call.split('\x1f').slice(0, -1) }));
}
