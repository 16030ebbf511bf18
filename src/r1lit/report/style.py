"""The style sheet of the report: text with figures, in the reader's own fonts, light or dark, wide or narrow."""

STYLE = """
:root { color-scheme: light dark;
  --paper: #fdfcf9; --ink: #1d1c1a; --soft: #65615a; --rule: #d9d4c9; --wash: #f3f0e8;
  --s1: #1f5a8c; --s2: #b4561f; --good: #22683f; --bad: #9a3324; --none: #75706a; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #171614; --ink: #e9e5dc; --soft: #a19b90; --rule: #3a3731; --wash: #211f1c;
  --s1: #7fb2de; --s2: #e29a66; --good: #7cc598; --bad: #e58f7f; --none: #a19b90; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1.0625rem/1.55 Charter, "Bitstream Charter", "Iowan Old Style", "Palatino Linotype", Georgia, serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1, h2, h3 { line-height: 1.2; font-weight: 600; text-wrap: balance; }
h1 { font-size: 2rem; margin: 0 0 .4rem; }
h2 { font-size: 1.35rem; margin: 3.2rem 0 .6rem; padding-top: 1rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1.08rem; margin: 2rem 0 .4rem; }
p { max-width: 44rem; margin: .5rem 0 1rem; }
a { color: var(--s1); }
.lead { font-size: 1.15rem; }
.soft, figcaption, caption, .bounds, .test { color: var(--soft); }
nav { font: .9rem/1.9 system-ui, sans-serif; margin: 1.2rem 0 0; }
nav a { margin-right: 1.1rem; white-space: nowrap; text-decoration: none; }
nav a:hover, nav a:focus { text-decoration: underline; }
.scroll { overflow-x: auto; margin: 1rem 0; }
.scroll:focus-visible, summary:focus-visible { outline: 2px solid var(--s1); outline-offset: 2px; }
table { border-collapse: collapse; font: .875rem/1.4 system-ui, sans-serif; font-variant-numeric: tabular-nums;
  width: 100%; border-top: 2px solid var(--ink); border-bottom: 2px solid var(--ink); }
caption { text-align: left; padding-bottom: .5rem; font: italic .95rem/1.45 Charter, Georgia, serif; }
caption span { display: block; position: sticky; left: 0; max-width: min(66rem, calc(100vw - 2rem)); }
th, td { text-align: left; vertical-align: top; padding: .4rem .7rem .4rem 0; }
th:last-child, td:last-child { padding-right: 0; }
thead th { border-bottom: 1px solid var(--ink); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 400; }
tbody tr + tr > * { border-top: 1px solid var(--rule); }
.figures td, .figures thead th:not(:first-child) { text-align: right; white-space: nowrap; }
.bounds { display: block; font-size: .78rem; }
.best { font-weight: 650; }
@media (min-width: 44.01rem) {
  .claims th:first-child { width: 32%; } .claims th:nth-child(2) { width: 21%; }
  .claims th:nth-child(3) { width: 26%; } }
.claims .title { font-weight: 600; display: block; }
.test { display: block; font-size: .8rem; }
.verdict { font-weight: 600; white-space: nowrap; }
.reproduced { color: var(--good); } .not-reproduced { color: var(--bad); }
.not-measured, .not-measurable-here { color: var(--none); font-weight: 400; }
.notice { background: var(--wash); border-left: 3px solid var(--s2); padding: .7rem 1rem; margin: 1.2rem 0;
  max-width: 46rem; }
.notice p { margin: .25rem 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); gap: 1.4rem 1.6rem;
  margin: 1.2rem 0; }
figure { margin: 0; }
figure svg { display: block; width: 100%; height: auto; }
figure.wide { max-width: 40rem; margin: 1.4rem 0; }
figcaption { font: .9rem/1.4 system-ui, sans-serif; margin-bottom: .2rem; }
figcaption b { color: var(--ink); font-weight: 600; }
.key { white-space: nowrap; margin-right: .8em; }
.key::before { content: ""; display: inline-block; width: 1.1em; height: .18em; margin-right: .4em;
  vertical-align: .25em; background: currentColor; }
.key.s1 { color: var(--s1); } .key.s2 { color: var(--s2); }
svg text { font-family: system-ui, sans-serif; font-size: 11px; fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .name { fill: var(--ink); font-size: 12px; }
svg .grid { stroke: var(--rule); stroke-width: .7; } svg .axis { stroke: var(--soft); stroke-width: .8; }
svg .mark { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 3 3; }
svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; } svg .dot { opacity: .32; }
svg .dot:hover { opacity: 1; r: 4px; }
svg .line.s1, svg .bar.s1 { stroke: var(--s1); } svg .line.s2 { stroke: var(--s2); } svg .bar { stroke-width: 2; }
svg .dot.s1, svg .point.s1 { fill: var(--s1); } svg .dot.s2 { fill: var(--s2); }
.sample { background: var(--wash); padding: 1rem 1.2rem; margin: 1rem 0; border-radius: 2px; }
.sample pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .5rem 0 0;
  font: .84rem/1.6 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
.sample mark { background: none; color: var(--s2); font-weight: 700; }
code { font: .85em ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
details { margin: .6rem 0; } summary { cursor: pointer; font: .9rem system-ui, sans-serif; }
footer { margin-top: 3rem; font-size: .9rem; color: var(--soft); }
@media (max-width: 44rem) {
  main { padding: 1.5rem 1rem 3rem; } h1 { font-size: 1.6rem; } body { font-size: 1rem; }
  .claims thead { position: absolute; left: -999rem; }
  .claims tr, .claims th, .claims td { display: block; padding-right: 0; }
  .claims tbody tr + tr { border-top: 1px solid var(--ink); } .claims tbody tr + tr > * { border-top: 0; }
  .claims td.none { display: none; }
  .claims td { padding: .1rem 0 .3rem; } .claims td::before { content: attr(data-head) " "; color: var(--soft);
    display: block; font-size: .75rem; letter-spacing: .02em; }
  .figures tbody th, .figures thead th:first-child { position: sticky; left: 0; background: var(--paper); }
}
@media print { nav { display: none; } main { max-width: none; } h2 { break-after: avoid; } }
"""
