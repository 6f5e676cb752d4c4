import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, rmSync } from 'node:fs';
import { cpus, freemem, totalmem } from 'node:os';
import { performance } from 'node:perf_hooks';
import { lastLine } from './tools.mjs';

const TIME = '/usr/bin/time';
const POLL_MS = 25;

/**
 * Runs a command and waits for it. Wall time is of the whole command. Peak resident memory is the larger of what the
 * kernel counted for any one process (GNU time) and the largest sum over the process tree seen at a poll.
 * A command that needs more than `memoryLimit` bytes is ended: on a small machine it would take others with it.
 */
export async function measure(command, args, { log, memoryLimit, timeLimit, cwd }) {
  const figures = `${log}.time`;
  rmSync(figures, { force: true });
  const timed = existsSync(TIME);
  const [file, list] = timed ? [TIME, ['-f', '%M %U %S', '-o', figures, command, ...args]] : [command, args];
  const out = openSync(log, 'w');
  const started = performance.now();
  // Its own process group, so that ending it ends its children too.
  const child = spawn(file, list, { cwd, stdio: ['ignore', out, out], detached: true });
  let polled = 0;
  let ended;
  const stop = (reason) => {
    ended ??= reason;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It has ended by itself in the meantime.
    }
  };
  const timer = setInterval(() => {
    polled = Math.max(polled, residentBytes(child.pid));
    if (polled > memoryLimit) stop(`ended at ${gigabytes(polled)} of memory`);
    if (performance.now() - started > timeLimit) stop(`ended after ${Math.round(timeLimit / 1000)} s`);
  }, POLL_MS);
  const code = await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (status) => resolve(status));
  }).finally(() => {
    clearInterval(timer);
    closeSync(out);
  });
  const seconds = (performance.now() - started) / 1000;
  const result = { seconds, peakBytes: polled };
  if (timed && existsSync(figures)) {
    // GNU time writes a line of its own before the figures when the command fails.
    const [peak, user, system] = readFileSync(figures, 'utf8').trim().split('\n').at(-1).split(' ').map(Number);
    if (Number.isFinite(peak)) result.peakBytes = Math.max(polled, peak * 1024);
    if (Number.isFinite(user + system)) result.cpuSeconds = user + system;
  }
  if (ended) result.failure = ended;
  else if (code !== 0) result.failure = `exit ${code}: ${lastLine(readFileSync(log, 'utf8'))}`;
  return result;
}

/** Resident bytes of a process and its descendants, 0 where /proc does not tell. */
function residentBytes(pid) {
  let bytes = 0;
  try {
    const line = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    if (line) bytes += Number(line[1]) * 1024;
    for (const child of readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' '))
      if (child) bytes += residentBytes(Number(child));
  } catch {
    // The process has ended between two reads, or this is not Linux.
  }
  return bytes;
}

export function gigabytes(bytes) {
  return `${(bytes / 2 ** 30).toFixed(1)} GB`;
}

/** What decides speed on this machine, and nothing that names it. */
export function machine() {
  const info = existsSync('/proc/cpuinfo') ? readFileSync('/proc/cpuinfo', 'utf8') : '';
  const flags = (/^(?:flags|Features)\s*:\s*(.*)$/m.exec(info)?.[1] ?? '').split(' ');
  const telling = ['avx2', 'fma', 'avx512f', 'avx512_vnni', 'avx_vnni', 'amx_int8', 'asimddp', 'i8mm'];
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    flags: telling.filter((flag) => flags.includes(flag)),
    memory: gigabytes(totalmem()),
    platform: `${process.platform}-${process.arch}`,
  };
}

/** Memory that can be had now, in bytes. */
export function availableMemory() {
  const info = existsSync('/proc/meminfo') ? readFileSync('/proc/meminfo', 'utf8') : '';
  const line = /^MemAvailable:\s+(\d+) kB/m.exec(info);
  return line ? Number(line[1]) * 1024 : freemem();
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
