import { median } from './measure.mjs';

/** What qtool set out to reach against onnxruntime's quantizer, as table lines with what was measured. */
export function targetsOf(rows) {
  const find = (tool, setting) =>
    rows.find((row) => row.tool === tool && row.setting === setting && row.seconds?.length);
  const lines = [];
  for (const [method, samples, aim] of [
    ['minmax', 512, 1.5],
    ['entropy', 512, 3],
    ['percentile', 512, 3],
    ['minmax', 4096, 5],
    ['entropy', 4096, 5],
    ['percentile', 4096, 5],
  ]) {
    const [peer, mine] = ['onnxruntime', 'qtool'].map((tool) => find(tool, `${samples}-${method}-channel`));
    if (!peer || !mine || mine.failure) continue;
    // A peer that was ended took at least that long and at least that much.
    const least = peer.failure ? '≥ ' : '';
    const faster = median(peer.seconds) / median(mine.seconds);
    lines.push(
      line(`${samples} samples, ${method}: times faster`, `≥ ${aim}`, `${least}${faster.toFixed(1)}`, faster >= aim),
    );
    if (method === 'minmax') {
      const floor = find('float-once', `${samples}-${method}-channel`);
      if (!floor || floor.failure || faster >= aim) continue;
      const most = (median(peer.seconds) / median(floor.seconds)).toFixed(1);
      lines.push(`| … of which the float model run once leaves at most | | ${most} | |`);
      continue;
    }
    const share = median(mine.peakBytes) / median(peer.peakBytes);
    const bound = samples === 512 ? 5 : 20;
    const told = `${peer.failure ? '≤ ' : ''}1/${(1 / share).toFixed(1)}`;
    lines.push(line(`${samples} samples, ${method}: share of its memory`, `≤ 1/${bound}`, told, share <= 1 / bound));
  }
  for (const method of ['minmax', 'entropy', 'percentile']) {
    const runs = [128, 512, 4096].map((samples) => find('qtool', `${samples}-${method}-channel`));
    if (runs.some((row) => !row || row.failure)) continue;
    const peaks = runs.map((row) => median(row.peakBytes));
    const spread = Math.max(...peaks) / Math.min(...peaks) - 1;
    lines.push(
      line(
        `${method}: memory flat from 128 to 4,096 samples`,
        '≤ 10 %',
        `${(100 * spread).toFixed(1)} %`,
        spread <= 0.1,
      ),
    );
  }
  return lines;
}

function line(what, aim, measured, reached) {
  return `| ${what} | ${aim} | ${measured} | ${reached ? 'yes' : '**no**'} |`;
}
