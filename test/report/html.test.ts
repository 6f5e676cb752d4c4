import fc from 'fast-check';
import { escapeHtml } from '../../src/report/escape.ts';
import { htmlReport } from '../../src/report/html.ts';
import { bars } from '../../src/report/svg.ts';
import type { RunReport } from '../../src/run/report.ts';
import { layers, report, stages } from './sample.ts';

const empty = new Set(['meta', 'rect']);

/** Reads the page as a strict parser would: every tag known, closed in order, every attribute quoted. */
function elements(html: string): string[] {
  const open: string[] = [];
  const seen: string[] = [];
  const rest = html
    .replace(/^<!doctype html>/, '')
    .replace(/<(\/?)([a-z][a-z0-9]*)((?:\s+[a-zA-Z-]+="[^"<>]*")*)\s*\/?>/g, (_all, close: string, name: string) => {
      if (close === '') {
        seen.push(name);
        if (!empty.has(name)) open.push(name);
      } else if (open.pop() !== name) throw new Error(`</${name}> closes nothing`);
      return '';
    });
  if (open.length > 0) throw new Error(`left open: ${open.join(' ')}`);
  if (/[<>]/.test(rest)) throw new Error(`stray bracket: ${/.{0,40}[<>].{0,40}/s.exec(rest)?.[0]}`);
  return seen;
}

/** The same report with every text replaced by the given one. */
function poisoned(value: unknown, text: string): unknown {
  if (typeof value === 'string') return text;
  if (Array.isArray(value)) return value.map((one) => poisoned(one, text));
  if (value !== null && typeof value === 'object')
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, poisoned(one, text)]));
  return value;
}

describe('htmlReport', () => {
  it('is well formed, with a section for each part', () => {
    const html = htmlReport(report);
    expect(elements(html).filter((name) => name === 'section')).toHaveLength(5);
    expect(elements(html).filter((name) => name === 'svg')).toHaveLength(3);
  });

  it('asks for nothing from outside and runs no script', () => {
    const html = htmlReport(report);
    expect(html).not.toMatch(/https?:|\/\/[a-z]|<script|<link|<img|<iframe|@import|url\(|\ssrc=|\shref=|\son[a-z]+=/i);
    expect(html).toContain(`content="default-src 'none'; style-src 'unsafe-inline'"`);
  });

  it('escapes every text of the report', () => {
    const evil = `"><script>alert(1)</script><svg onload='x' & y`;
    const html = htmlReport(poisoned(report, evil) as RunReport);
    expect(html).not.toMatch(/<script|<svg onload/);
    expect(() => elements(html)).not.toThrow();
    expect(html).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
  });

  it('names every layer, attempt and reason', () => {
    const html = htmlReport(report);
    for (const layer of layers) expect(html).toContain(`<td>${layer.layer}</td>`);
    for (const stage of stages) for (const attempt of stage.attempts) expect(html).toContain(attempt.strength);
    for (const { text } of stages.flatMap((stage) => stage.skipped)) expect(html).toContain(text);
    expect(html).toContain('446,301 bytes');
  });

  it("shows the schedule's own text where the report carries it", () => {
    const html = htmlReport({ ...report, schedule: 'version: 1\npolicies: [] # <none>\n' });
    expect(html).toContain('<pre>version: 1\npolicies: [] # &lt;none&gt;\n</pre>');
  });

  it('leaves out what a run does not have', () => {
    const bare = { metrics: [], bytes: 100, zeros: 0, latency: [] };
    const html = htmlReport({
      ...report,
      baseline: bare,
      stages: [],
      layers: [],
      result: { ...report.result, measurement: bare },
    });
    expect(() => elements(html)).not.toThrow();
    expect(html).not.toMatch(/undefined|NaN|Layers of the result/);
  });
});

describe('bars', () => {
  const lengths = (svg: string) => [...svg.matchAll(/ width="([\d.]+)"/g)].map((match) => Number(match[1]));
  const bar = (value: number | undefined) => ({ label: 'a', text: 'b', tone: 'plain' as const, value });

  it('draws lengths in proportion to the largest finite value', () => {
    expect(lengths(bars('t', [bar(10), bar(5), bar(0), bar(-3), bar(undefined), bar(Infinity), bar(NaN)]))).toEqual([
      380, 190, 0, 0, 0, 380, 0,
    ]);
  });

  it('draws nothing longer than a full bar', () => {
    expect(lengths(bars('t', [bar(150), bar(50)], 100))).toEqual([380, 190]);
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
