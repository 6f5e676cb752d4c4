import { createHash } from 'node:crypto';
import { escapeHtml as e } from '../escape.ts';
import { script } from './script.ts';
import { style } from './style.ts';

/** Stands in every page that qtool wrote: such a file may be written over. */
export const generator = '<meta name="generator" content="qtool">';

/**
 * A whole file around a body: nothing is asked from outside, and nothing runs or styles but what this program wrote, by its hash.
 */
export function page(title: string, body: string): string {
  const policy = `default-src 'none'; style-src '${hashOf(style)}'; script-src '${hashOf(script)}'; base-uri 'none'; form-action 'none'`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
${generator}
<title>${e(title)}</title>
<style>${style}</style>
</head>
<body>
${body}
<script>${script}</script>
</body>
</html>
`;
}

function hashOf(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`;
}
