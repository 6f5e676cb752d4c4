/** The world as the command line sees it. Tests hand in their own; nothing else below src/cli touches `process`. */
export interface Io {
  stdout(text: string): void;
  stderr(text: string): void;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly tty: { readonly stdout: boolean; readonly stderr: boolean };
  /** Columns of the terminal; undefined where there is none. */
  readonly columns: number | undefined;
  /** Calls back at every Ctrl-C until the returned function is called. */
  onInterrupt(callback: () => void): () => void;
  /** Ends the process at once: the second Ctrl-C. */
  exit(code: number): void;
}

/** This process. */
export function processIo(): Io {
  // `qtool … | head` closes the pipe early: that is the reader's right, not an error.
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
  return {
    stdout: (text) => void process.stdout.write(text),
    stderr: (text) => void process.stderr.write(text),
    env: process.env,
    tty: { stdout: process.stdout.isTTY === true, stderr: process.stderr.isTTY === true },
    // Where no stream is a terminal: what the environment says, as of `script` or a pager.
    columns: process.stdout.columns ?? process.stderr.columns ?? (Number(process.env['COLUMNS']) || undefined),
    onInterrupt(callback) {
      process.on('SIGINT', callback);
      return () => void process.off('SIGINT', callback);
    },
    exit: (code) => process.exit(code),
  };
}
