/** Tables whose rows become cards on a page narrower than `width`; the heads of those that sort stay, as a row of buttons. */
const cards = (table: string, width: string): string => `@media screen and (max-width: ${width}) {
  ${table}, ${table} tbody, ${table} tr, ${table} td { display: block; width: 100%; } ${table}:not(.sortable) thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  ${table}.sortable thead tr { display: flex; flex-wrap: wrap; gap: 0.3rem 0.9rem; padding: 0.5rem 0.6rem; } ${table} th { padding: 0; }
  ${table} tr { border-top: 1px solid var(--line); padding: 0.4rem 0; } ${table} td { border: 0; padding: 0.1rem 0.6rem 0.1rem 8.6rem; text-align: left; min-height: 1.7em; white-space: normal; }
  ${table} td::before { content: attr(data-t); float: left; width: 7.6rem; margin-left: -8rem; color: var(--soft); } ${table} td::after { content: ''; display: block; clear: both; } ${table} td:empty { display: none; }
}
`;

/** The page's style; colours follow the reader's light or dark setting, and paper is always light. */
export const style = `:root {
  color-scheme: light dark;
  --ink: #1d2329; --soft: #566270; --line: #d5dce2; --page: #f6f8fa; --card: #fff; --link: #0b5cad;
  --good: #1f7a4d; --fair: #9a6200; --bad: #c0262d; --plain: #5b6b7b; --lost: #c0262d33; --was: #a9bccd; --is: #0b5cad;
  --w4: #1b6ca8; --w8: #2f855a; --w16: #946200; --w32: #6b46a5; --wnone: #5b6b7b; --on: #fff; --hot: #b3261e; --s3: #0b5cad; --s4: #6b46a5;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e9ed; --soft: #a0adb9; --line: #36414c; --page: #11161b; --card: #1a2128; --link: #74b3f0;
    --good: #4fc388; --fair: #e8b64a; --bad: #ff7f7f; --plain: #9fb0c0; --lost: #ff7f7f38; --was: #4b5d6e; --is: #74b3f0;
    --w4: #2a78b8; --w8: #2f7d58; --w16: #8a6410; --w32: #7a58b8; --wnone: #566472; --on: #fff; --hot: #f2665c; --s3: #74b3f0; --s4: #b79af0;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 100rem; padding: 1.25rem clamp(0.8rem, 3vw, 2.5rem) 4rem; font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0; } h2 { margin: 2.5rem 0 0.75rem; font-size: 1.2rem; } h3 { font-size: 1rem; margin: 0; display: inline; }
p { margin: 0.5rem 0; } .soft, .legend { color: var(--soft); font-size: 0.87rem; } a { color: var(--link); }
code, pre { font-family: ui-monospace, monospace; font-size: 0.9em; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 0.75rem; margin: 0.4rem 0; white-space: pre-wrap; }
nav { display: flex; flex-wrap: wrap; gap: 0.2rem 1.1rem; margin: 1rem 0 0; font-size: 0.92rem; }
.alarm, .card { border: 1px solid var(--line); border-left: 4px solid var(--plain); border-radius: 6px; background: var(--card); padding: 0.6rem 0.9rem; margin: 0.75rem 0; } .card ul { margin: 0.3rem 0; padding-left: 1.2rem; } .card li { overflow-wrap: anywhere; }
.alarm { border-left-color: var(--bad); } .alarm strong, .ink-bad { color: var(--bad); } .ink-fair { color: var(--fair); } .ink-good { color: var(--good); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 10.5rem), 1fr)); gap: 0.75rem; margin: 1rem 0 0; padding: 0; list-style: none; }
.tiles li { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 0.6rem 0.9rem; }
.tiles span { display: block; color: var(--soft); font-size: 0.85rem; } .tiles strong { display: block; font-size: 1.45rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 0.9rem; align-items: start; margin: 0.9rem 0; }
figure { max-width: 44rem; margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 0.7rem 0.8rem; min-width: 0; }
figcaption { color: var(--soft); font-size: 0.87rem; margin-bottom: 0.3rem; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg.key { display: inline-block; width: 14px; height: 14px; vertical-align: -2px; }
.keys { display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; margin: 0.35rem 0 0; padding: 0; list-style: none; font-size: 0.85rem; color: var(--soft); }
svg text { fill: var(--soft); } svg text.end { text-anchor: end; } svg text.mid { text-anchor: middle; } svg text.on { fill: var(--on); } svg text.cell { fill: var(--ink); }
.good { fill: var(--good); } .fair { fill: var(--fair); } .bad { fill: var(--bad); } .plain { fill: var(--plain); } .s3 { fill: var(--s3); } .s4 { fill: var(--s4); }
.stroke { fill: none; stroke-width: 2; } .stroke.bad { stroke: var(--bad); } .stroke.good { stroke: var(--good); } .stroke.fair { stroke: var(--fair); } .stroke.plain { stroke: var(--plain); } .stroke.s3 { stroke: var(--s3); } .stroke.s4 { stroke: var(--s4); }
.grid { stroke: var(--line); fill: none; } .whisker { stroke: var(--soft); fill: none; } .hit { fill: transparent; } .front { stroke: var(--soft); fill: none; stroke-dasharray: 4 3; }
.was { fill: var(--was); } .is { fill: none; stroke: var(--is); stroke-width: 1.6; } .lost { fill: var(--lost); } .limit { stroke: var(--bad); stroke-width: 1.5; fill: none; }
.w-4 { fill: var(--w4); } .w-8 { fill: var(--w8); } .w-16 { fill: var(--w16); } .w-32 { fill: var(--w32); } .w-none { fill: var(--wnone); }
${Array.from({ length: 10 }, (_, i) => `.h${i} { fill: color-mix(in oklab, var(--hot) ${i * 11}%, var(--page)); }`).join(' ')}
svg a:hover rect, svg a:hover circle, svg a:hover path, svg g:hover > circle { opacity: 0.75; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; font-variant-numeric: tabular-nums; background: var(--card); border: 1px solid var(--line); margin: 0.5rem 0; }
th, td { padding: 0.35rem 0.6rem; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; border-top: 0; overflow-wrap: normal; } .n { text-align: right; } td.n { white-space: nowrap; }
.many td:first-child { min-width: 12ch; } .many td, .open { overflow-wrap: break-word; } td small { display: block; color: var(--soft); font-size: 0.85em; }
button, input, select { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 0.25rem 0.6rem; max-width: 100%; }
button { cursor: pointer; } button:hover { border-color: var(--soft); }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.sort, .open { border: 0; padding: 0; background: none; text-align: inherit; } .sort { font-weight: inherit; color: inherit; }
.sort::after { content: ' \\2195'; opacity: 0.45; } [aria-sort=ascending] .sort::after { content: ' \\2191'; opacity: 1; } [aria-sort=descending] .sort::after { content: ' \\2193'; opacity: 1; }
.open { color: var(--link); } .open::before { content: '\\25b8'; display: inline-block; width: 1em; } .opened .open::before { content: '\\25be'; }
.js tr.row { cursor: pointer; } .js tr.row:hover { background: color-mix(in oklab, var(--line) 40%, var(--card)); }
.controls, .copier, .js .layers tbody:not(.opened) tr.more { display: none; } .js .controls { display: flex; flex-wrap: wrap; gap: 0.5rem 1rem; align-items: center; margin: 0.9rem 0 0.5rem; } .js .copier { display: inline-block; float: right; margin: 0.25rem; font-size: 0.8rem; }
.controls label { display: flex; gap: 0.4rem; align-items: center; color: var(--soft); } .controls input { width: 17rem; min-width: 0; flex: 1 1 auto; } output { color: var(--soft); }
.tag { border: 1px solid currentColor; border-radius: 99px; padding: 0 0.5em; font-size: 0.85em; color: var(--soft); white-space: nowrap; } .tag.integer, .tag.kept { color: var(--good); } .tag.float, .tag.retried, .tag.warned { color: var(--fair); } .tag.undone, .tag.stopped, .tag.failed { color: var(--bad); }
.detail { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); gap: 0.9rem; padding: 0.3rem 0 0.6rem; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) minmax(0, 1fr); gap: 0.1rem 1rem; margin: 0.4rem 0; align-content: start; } dt { color: var(--soft); } dd { margin: 0; }
details { margin: 0.35rem 0; } summary { cursor: pointer; } details > :not(summary) { margin-left: 1rem; } details > table.cards { width: calc(100% - 1rem); } details.stage { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 0.4rem 0.8rem; }
@media screen and (max-width: 75rem) { .rank2 { display: none; } }
@media screen and (min-width: 44rem) and (max-width: 64rem) { .detail > div:nth-last-child(odd):first-child { grid-column: 1 / -1; } }
${cards('.many', '64rem')}@media screen and (min-width: 44rem) and (max-width: 64rem) { .many tbody tr { display: grid; grid-template-columns: 1fr 1fr; } }
${cards('.cards', '44rem')}@media screen and (max-width: 44rem) {
  .rank1 { display: none; }
  dl { grid-template-columns: minmax(5rem, 6.5rem) minmax(0, 1fr); gap: 0.1rem 0.6rem; } .js .copier { float: none; } .controls label { width: 100%; }
}
@page { margin: 12mm; }
@media print {
  body { font-size: 9.5pt; background: none; padding: 0; max-width: none; } nav, .js .controls, .js .copier { display: none; }
  table { font-size: 8pt; } th, td { padding: 0.15rem 0.3rem; } .sort::after, .open::before { content: none !important; } .open { color: inherit; }
  figure, .tiles li, tr, .card { break-inside: avoid; } h2, h3 { break-after: avoid; } thead { display: table-header-group; }
  .charts { grid-template-columns: 1fr 1fr; } .tiles { grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); } .tiles strong { font-size: 1.1rem; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
`;
