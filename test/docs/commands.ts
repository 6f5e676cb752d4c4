import { spawnSync } from 'node:child_process';
import type { Block } from './pages.ts';

/** A command that a block runs, as the shell reads it. */
export interface Command {
  readonly block: Block;
  readonly words: readonly string[];
}

// No program is found, so that bash hands the words of each to this function and runs none. Fields end with \x1f, commands with \x1e.
const nothing = `
command_not_found_handle() { printf '%s\\x1f' "$@" >&3; printf '\\x1e' >&3; }
cd() { :; }
eval() { :; }
export() { :; }
PATH=/nowhere
`;

/**
 * The commands of shell blocks, in order: bash itself reads quotes, loops, comments and joined lines.
 * @throws where bash does not understand a block.
 */
export function commandsOf(blocks: readonly Block[]): Command[] {
  return blocks.flatMap((block) => {
    const stdio = ['ignore', 'ignore', 'pipe', 'pipe'] as const;
    // What stands for a name, `<folder>`, would be a redirection.
    const text = block.text.replace(/<([^<>\n]+)>/g, "'<$1>'");
    const { stderr, output } = spawnSync('bash', ['-c', `${nothing}${text}`], {
      ...{ encoding: 'utf8' as const, stdio: [...stdio], cwd: '/' },
    });
    if (stderr !== '') throw new Error(`${block.page}:${block.line}: ${stderr}`);
    const calls = (output[3] ?? '').split('\x1e').slice(0, -1);
    return calls.map((call) => ({ block, words: call.split('\x1f').slice(0, -1) }));
  });
}
