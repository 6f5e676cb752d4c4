/** The page's style; colours follow the reader's light or dark setting. */
export const css = `:root {
  color-scheme: light dark;
  --ink: #1d2329; --soft: #5d6974; --line: #d9dfe4; --page: #fff; --good: #2f855a; --fair: #b7791f; --bad: #c53030; --plain: #718096;
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e8ec; --soft: #9aa7b2; --line: #36414b; --page: #14191e; --good: #48bb78; --fair: #ecc94b; --bad: #fc8181; --plain: #a0aec0; }
}
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); }
h1 { font-size: 1.4rem; } h2 { margin-top: 2.5rem; font-size: 1.15rem; border-bottom: 1px solid var(--line); } h3 { font-size: 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: 0.9em; }
.headline { font-size: 1.05rem; } .legend { color: var(--soft); font-size: 0.85rem; }
dl { display: grid; grid-template-columns: 8rem 1fr; gap: 0 1rem; margin: 0.5rem 0; } dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
th, td { padding: 0.25rem 0.75rem 0.25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; white-space: nowrap; } td.n { text-align: right; white-space: nowrap; }
figure { margin: 1.5rem 0; } figcaption { color: var(--soft); font-size: 0.85rem; }
svg { width: 100%; max-width: 56rem; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--ink); } svg text.label { text-anchor: end; }
rect.good { fill: var(--good); } rect.fair { fill: var(--fair); } rect.bad { fill: var(--bad); } rect.plain { fill: var(--plain); }
.bad { color: var(--bad); } summary { cursor: pointer; }
`;
