import { createHash } from 'node:crypto';
import fc from '../helpers/fc.ts';
import { escapeHtml } from '../../src/report/escape.ts';
import { htmlReport } from '../../src/report/html.ts';
import { htmlComparison } from '../../src/report/html_compare.ts';
import type { LayerReport, RunReport } from '../../src/run/report.ts';
import { layers, report, stages } from './sample.ts';

const empty = new Set(['meta', 'rect', 'path', 'circle', 'input', 'wbr']);

/** The page without its style and script, which the tests of the policy look at. */
function markup(html: string): string {
  return html.replace(/<style>[^<]*<\/style>/, '').replace(/<script>[\s\S]*<\/script>\n<\/body>/, '</body>');
}

/** Reads the page as a strict parser would: every tag known, closed in order, every attribute quoted. */
function elements(html: string): string[] {
  const open: string[] = [];
  const seen: string[] = [];
  const rest = markup(html)
    .replace(/^<!doctype html>/, '')
    .replace(
      /<(\/?)([a-z][a-z0-9]*)((?:\s+[a-zA-Z-]+="[^"<>]*")*)\s*\/?>/g,
      (_all: string, close: string, name: string) => {
        if (close === '') {
          seen.push(name);
          if (!empty.has(name)) open.push(name);
        } else if (open.pop() !== name) throw new Error(`</${name}> closes nothing`);
        return '';
      },
    );
  if (open.length > 0) throw new Error(`left open: ${open.join(' ')}`);
  if (/[<>]/.test(rest)) throw new Error(`stray bracket: ${/.{0,40}[<>].{0,40}/s.exec(rest)?.[0]}`);
  return seen;
}

const count = (html: string, tag: string): number => elements(html).filter((name) => name === tag).length;

/** The same report with every text replaced by the given one. */
function poisoned(value: unknown, text: string): unknown {
  if (typeof value === 'string') return text;
  if (Array.isArray(value)) return value.map((one) => poisoned(one, text));
  if (value !== null && typeof value === 'object')
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, poisoned(one, text)]));
  return value;
}

const bins = (height: number): number[] => Array.from({ length: 40 }, (_, i) => height * (20 - Math.abs(20 - i)));

/** A layer of which everything is known. */
const whole: LayerReport = {
  ...(layers[0] as LayerReport),
  own: 44.5,
  shape: [20, 1, 5, 5],
  output: [1, 20, 24, 24],
  parameters: 520,
  macs: 288_000,
  bytes: 700,
  floatBytes: 2080,
  bits: 8,
  weightSpread: { low: -1, high: 2, float: bins(10), quantized: bins(9), range: [-0.5, 1], clipped: 0.125 },
  activationSpread: { low: 0, high: 6, counts: bins(1000), range: [0, 3], clipped: 0.25 },
};

const full: RunReport = {
  ...report,
  layers: [whole, ...layers.slice(1)],
  command: "qtool quantize 'a model.onnx' --schedule int8",
  schedule: 'version: 1\npolicies: [] # <none>\n',
  diagnosis: { sentences: ['conv1 is the first layer that is far from float'], yaml: 'overrides:\n  conv1: {}\n' },
  sensitivity: {
    metric: 'top1',
    unit: '%',
    columns: ['8 bits', '4 bits'],
    rows: [{ layer: 'conv1', values: [0.1, undefined] }, { layer: 'fc1', values: [-0.2, Infinity] }], // prettier-ignore
  },
};

describe('htmlReport', () => {
  it('is well formed, with a section for each part', () => {
    const html = htmlReport(full);
    expect([...html.matchAll(/<section id="(\w+)">/g)].map((match) => match[1])).toEqual([
      'diagnosis',
      'stages',
      'metrics',
      'layers',
      'sensitivity',
      'notes',
      'origin',
    ]);
    // top1 and bytes by stage, frontier, error and bits over depth, treemap, sensitivity, two histograms.
    expect(count(html, 'figure')).toBe(9);
    expect(() => elements(htmlReport(report))).not.toThrow();
  });

  it('asks for nothing from outside, and names its only style and script by their hashes', () => {
    const html = htmlReport(full);
    const hash = (tag: string): string => {
      const found = [...html.matchAll(new RegExp(`<${tag}>([\\s\\S]*?)</${tag}>`, 'g'))];
      expect(found).toHaveLength(1);
      const digest = createHash('sha256').update(found[0]?.[1] ?? '').digest('base64'); // prettier-ignore
      return `'sha256-${digest}'`;
    };
    expect(html).toContain(
      `content="default-src 'none'; style-src ${hash('style')}; script-src ${hash('script')}; base-uri 'none'; form-action 'none'"`,
    );
    expect(html).not.toMatch(/unsafe-inline|https?:|<link|<img|<iframe|@import|url\(|\ssrc=/i);
    // The policy lets no attribute style or run anything.
    expect(markup(html)).not.toMatch(/\sstyle=|\son[a-z]+=/i);
    expect([...markup(html).matchAll(/\shref="(.)/g)].every((match) => match[1] === '#')).toBe(true);
  });

  it('escapes every text of the report', () => {
    const evil = `"></script></style><script>alert(1)</script><svg onload='x' & y`;
    for (const given of [full, report]) {
      const html = htmlReport(poisoned(given, evil) as RunReport);
      expect(markup(html)).not.toMatch(/<script|<svg onload/);
      expect(() => elements(html)).not.toThrow();
      expect(html).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
    }
    const html = htmlComparison([{ name: evil, report: poisoned(full, evil) as RunReport }]);
    expect(() => elements(html)).not.toThrow();
    expect(markup(html)).not.toMatch(/<script|<svg onload/);
  });

  it('explains only the signs that are there, and shows no column of drops that are all infinite', () => {
    const metric = { name: 'sqnr', value: 30, unit: 'dB', higherIsBetter: true, samples: 9, reference: Infinity, drop: Infinity } as const; // prettier-ignore
    const measurement = { ...report.baseline, metrics: [metric], latency: [] };
    const one = { ...stages[0]!, verdict: 'kept' as const, gate: undefined, measurement, attempts: [] };
    const bare = htmlReport({ ...report, baseline: measurement, stages: [one], result: { ...report.result, measurement, stages: [1] } }); // prettier-ignore
    const table = /<section id="stages">.*?<\/section>/s.exec(bare)?.[0] ?? '';
    expect(table).not.toMatch(/±|interleaved|drop of sqnr|had cost/);
    const full = /<section id="stages">.*?<\/section>/s.exec(htmlReport(report))?.[0] ?? '';
    expect(full).toMatch(/±: 95 %.*interleaved.*had cost/s);
    const compared = (result: RunReport['result']): string => htmlComparison([{ name: 'a', report: { ...report, result } }]); // prettier-ignore
    expect(compared({ ...report.result, measurement })).not.toContain('drop of');
    expect(compared(report.result)).toContain('drop of');
  });

  it('says what no gate judged, of how many stages it is the end, and where the whole mended schedule is', () => {
    const html = htmlReport({ ...report, planned: 9, result: { ...report.result, unjudged: ['top1 (sqnr was, in its place)'] }, diagnosis: { sentences: ['x'], yaml: 'a: 1', schedule: 'a: 1' } }); // prettier-ignore
    expect(html).toContain('of 9 stages kept');
    expect(html).toContain('; not judged: top1 (sqnr was, in its place)');
    expect(html).toContain('<code>mended.yaml</code>');
  });

  it('shows in an open layer what it reads', () => {
    const [first, second] = layers as [LayerReport, LayerReport];
    const spread = { low: 0, high: 9, counts: [1, 2, 3] };
    const html = htmlReport({ ...report, layers: [{ ...first, activationSpread: spread }, { ...second, input: first.layer }] }); // prettier-ignore
    expect(html).toContain('reads <a href="#layer-1">');
    expect(html).toContain('histogram of the input');
  });

  it('joins on the frontier neither refused models nor runs of different float models', () => {
    const lines = (html: string) => [...html.matchAll(/<path class="front" d="([^"]*)"/g)].map(([, d]) => d!);
    const bare = { ...report, stages: report.stages.map((one) => ({ ...one, attempts: one.attempts.map((a) => ({ ...a, passed: false })) })) }; // prettier-ignore
    expect(lines(htmlReport(bare)).join('').length).toBeLessThanOrEqual(lines(htmlReport(report)).join('').length);
    const other = { ...report, model: { ...report.model, sha256: 'cd'.repeat(32) } };
    const same = lines(htmlComparison([{ name: 'a', report }, { name: 'b', report }])).length; // prettier-ignore
    expect(lines(htmlComparison([{ name: 'a', report }, { name: 'b', report: other }])).length).toBe(2 * same); // prettier-ignore
  });

  it('names every layer, attempt and reason', () => {
    const html = htmlReport(report).replaceAll('<wbr>', '');
    for (const layer of layers) expect(html).toContain(`aria-controls="layer-${layers.indexOf(layer) + 1}-more">${layer.layer}</button>`); // prettier-ignore
    for (const stage of stages) for (const attempt of stage.attempts) expect(html).toContain(attempt.strength);
    for (const { text } of stages.flatMap((stage) => stage.skipped)) expect(html).toContain(text);
    for (const text of ['446 kB of 1.73 MB', 'drop of top1, points', '0.11 ±0.10', '25.9 %', '3 of 4 stages kept']) expect(html).toContain(text); // prettier-ignore
  });

  it('opens a layer to all that is known of it', () => {
    const html = htmlReport(full);
    const detail = html.slice(html.indexOf('id="layer-1-more"'), html.indexOf('id="layer-2"'));
    for (const text of ['[20, 1, 5, 5] int8 per channel', '[1, 20, 24, 24] uint8', '288,000 a sample', '700, float 2,080, 33.7 % of float&#39;s', '44.5 dB', '41.3 dB', '12.5 % clipped', '25.0 % clipped', 'integer']) expect(detail).toContain(text); // prettier-ignore
    // Held from a sixth to two thirds of the width of 320: what lies beyond is marked on both sides.
    expect([...detail.matchAll(/class="lost" x="([\d.]+)" y="4" width="([\d.]+)"/g)].map((m) => [m[1], m[2]])).toEqual([
      ['0', '53.3'],
      ['213.3', '106.7'],
      ['160', '160'],
    ]);
  });

  it('shows what to paste, and how to make it again', () => {
    const html = htmlReport(full);
    expect(html).toContain('<pre class="copy" tabindex="0">overrides:\n  conv1: {}\n</pre>');
    expect(html).toContain('qtool quantize &#39;a model.onnx&#39; --schedule int8</pre>');
    expect(html).toContain('version: 1\npolicies: [] # &lt;none&gt;\n</pre>');
  });

  it('says first what must be known, and whether a gate was judged', () => {
    const warned = htmlReport({ ...report, warnings: ['the file <grew>'] });
    expect(warned.indexOf('the file &lt;grew&gt;')).toBeLessThan(warned.indexOf('class="tiles"'));
    expect(htmlReport(report)).toContain('3 gates judged: 1 held by a weaker setting, 1 did not hold');
    const ungated = stages.map((stage) => ({ ...stage, gate: undefined }));
    expect(htmlReport({ ...report, stages: ungated })).toContain('no stage has a gate');
    const blind = stages.map((stage) => ({ ...stage, attempts: [{ strength: '', measurement: undefined, passed: true }] })); // prettier-ignore
    expect(htmlReport({ ...report, stages: blind })).toContain('no gate was judged');
  });

  it('leaves out what a run does not have', () => {
    const bare = { metrics: [], bytes: 100, zeros: 0, latency: [] };
    const result = { ...report.result, measurement: bare };
    const html = htmlReport({ ...report, baseline: bare, stages: [], layers: [], result });
    expect(() => elements(html)).not.toThrow();
    expect(markup(html)).not.toMatch(/undefined|NaN|Layers of the result|Diagnosis|Sensitivity/);
    expect(markup(htmlReport(report))).not.toMatch(/undefined|NaN/);
  });

  it('stays under 3 MB with a thousand layers', () => {
    const many = Array.from({ length: 1000 }, (_, i) => ({ ...whole, layer: `/blocks.${i}/attention/MatMul_${i}` }));
    expect(htmlReport({ ...full, layers: many }).length).toBeLessThan(3e6);
  });
});

describe('htmlComparison', () => {
  const other: RunReport = { ...report, seconds: 5, result: { ...report.result, status: 'stopped' } };

  it('holds every run in a row that sorts by value, and all models in one chart for each metric', () => {
    const html = htmlComparison([{ name: 'first', report }, { name: 'second', report: other }]); // prettier-ignore
    expect(() => elements(html)).not.toThrow();
    expect(count(html, 'tbody')).toBe(2);
    expect(html).toContain('data-v="446301">446 kB</td>');
    expect(html).toContain('size and top1 of every model of every run');
    expect(html).not.toContain('class="alarm"');
  });

  it('says why numbers do not compare', () => {
    const model = { ...report.model, sha256: 'cd'.repeat(32) };
    const data = { ...report.data, validation: { ...report.data.validation, samples: 12 } };
    const tool = { ...report.tool, cpu: 'another' };
    const html = htmlComparison([{ name: 'a', report }, { name: 'b', report: { ...report, model, data, tool } }]); // prettier-ignore
    for (const text of ['different float models', 'different samples', 'their speeds do not compare']) expect(html).toContain(text); // prettier-ignore
  });
});

describe('escapeHtml', () => {
  it('is undone by a browser, and leaves no character that opens anything', () => {
    const back: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" };
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', '&', '<', '>', '"', "'", ';', 'é', '&amp;') }), (text) => {
        const escaped = escapeHtml(text);
        expect(escaped).not.toMatch(/[<>"']/);
        expect(escaped.replace(/&([a-z]+|#39);/g, (_all, name: string) => back[name] ?? '?')).toBe(text);
      }),
    );
  });

  it('replaces what no page may hold', () => {
    expect(escapeHtml('a\u0000b\u001bc\td')).toBe('a\ufffdb\ufffdc\td');
  });
});
