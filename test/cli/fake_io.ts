import type { Io } from '../../src/cli/io.ts';

/** A terminal that remembers. `interrupt()` is Ctrl-C. */
export interface FakeIo extends Io {
  readonly out: () => string;
  readonly err: () => string;
  readonly exits: number[];
  interrupt(): void;
}

export function fakeIo(given: Partial<Pick<Io, 'env' | 'tty' | 'columns'>> = {}): FakeIo {
  let [out, err] = ['', ''];
  const listeners = new Set<() => void>();
  const exits: number[] = [];
  return {
    stdout: (text) => void (out += text),
    stderr: (text) => void (err += text),
    env: given.env ?? {},
    tty: given.tty ?? { stdout: false, stderr: false },
    columns: given.columns,
    onInterrupt(callback) {
      listeners.add(callback);
      return () => void listeners.delete(callback);
    },
    exit: (code) => void exits.push(code),
    out: () => out,
    err: () => err,
    exits,
    interrupt: () => listeners.forEach((callback) => callback()),
  };
}
