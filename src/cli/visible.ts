import type { Io } from './io.ts';

/** What chalk writes for `Paint`: bold, dim, red, green, yellow, and their ends. */
const painted = /^\u001b\[(?:1|2|22|31|32|33|39)m$/;
// Control characters but tab and line feed, DEL, C1, and what turns the direction of writing round.
const control = /\u001b\[\d+m|[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/**
 * Shows control characters as `\\u001b`: names in an ONNX file are free bytes, which shall not move a terminal's cursor or set its
 * title. In JSON text that is the same string. The colours of `Paint` stay where there are any.
 */
export function visible(text: string, colours: boolean): string {
  const shown = (char: string): string => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return text.replace(control, (found) =>
    colours && painted.test(found) ? found : `${shown(found)}${found.slice(1)}`,
  );
}

/** The same world with everything that is written made visible. */
export function visibleIo(io: Io, wants: (tty: boolean) => boolean): Io {
  const [out, err] = [wants(io.tty.stdout), wants(io.tty.stderr)];
  return { ...io, stdout: (text) => io.stdout(visible(text, out)), stderr: (text) => io.stderr(visible(text, err)) };
}
