"""The report's style sheet: one accent beside neutrals, light, dark and on paper."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --paper: #fdfdfc; --sheet: #f4f4f1; --ink: #1c1d1f; --soft: #5c6066; --rule:
    #dcdcd7;
  --peer: #b9bcc1; --accent: #0b5fae; --wash: #0b5fae22 }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --sheet: #1d2024; --ink: #e7e8ea; --soft: #a2a7ae;
  --rule: #33373d; --peer: #646a72; --accent: #6db1f5; --wash: #6db1f52e } }
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100% }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
main { max-width: 1240px; margin: 0 auto; padding: 40px 24px 64px }
header, section > h2, section > p, .chart, dl, .legend, .best { max-width: 860px }
header p:first-child { color: var(--soft); margin: 0 }
h1 { font-size: 30px; line-height: 1.2; font-weight: 650; letter-spacing: -.01em; margin: 4px 0 24px }
h2 { font-size: 20px; font-weight: 650; margin: 56px 0 8px }
h3 { font-size: 16px; font-weight: 600; margin: 28px 0 8px }
p { margin: 8px 0 }
.lead { font-size: 20px; line-height: 1.45; border-left: 3px solid var(--accent); padding-left: 16px; margin: 0 0
    16px }
header ul { margin: 0; padding-left: 19px }
header li { margin: 4px 0 }
.note, small, figcaption, caption, .legend, footer { color: var(--soft) }
.note, .legend, .best { font-size: 14px }
svg { display: block; width: 100%; height: auto }
.chart { margin: 12px 0 }
.narrow { display: none }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 8px 0; padding: 0 }
.legend li { padding-left: 20px; text-indent: -20px }
.legend svg { display: inline-block; width: 14px; height: 14px; vertical-align: -2px; margin-right: 6px }
.best { margin: 8px 0; padding-left: 20px }
svg text { font-family: inherit; fill: var(--ink) }
svg .soft { fill: var(--soft) }
svg .strong { font-weight: 600 }
svg .halo { paint-order: stroke; stroke: var(--paper); stroke-width: 3px; stroke-linejoin: round }
svg .grid { stroke: var(--rule); stroke-width: 1 }
svg .axis { stroke: var(--soft); stroke-width: 1 }
svg .dashed { stroke-dasharray: 2 3 }
svg .join { fill: none; stroke-width: 1; opacity: .6 }
svg .join.ours { stroke: var(--accent) }
svg .join.peer { stroke: var(--soft) }
svg .front { fill: none; stroke: var(--wash); stroke-width: 6; stroke-linejoin: round }
svg .mark { stroke-width: 1.5 }
svg .mark.ours { fill: var(--accent); stroke: var(--paper); stroke-width: .75 }
svg .mark.peer { fill: var(--paper); stroke: var(--soft) }
svg .mark.guess { fill: var(--paper); stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 2 1.5 }
svg .leader { stroke: var(--soft); stroke-width: .75 }
svg .bar.ours { fill: var(--accent) }
svg .bar.peer { fill: var(--peer) }
svg .tick { stroke: var(--ink); stroke-width: 1.5 }
svg .roof { stroke: var(--ink); stroke-width: 1.25; stroke-dasharray: 5 4 }
.figures { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: 13px; line-height: 1.35; margin-top: 12px }
caption { text-align: left; padding-bottom: 8px; font-size: 14px }
th, td { text-align: right; vertical-align: top; padding: 8px 0 8px 10px; border-top: 1px solid var(--rule);
    font-weight: 400 }
thead th { border-top: 0; border-bottom: 1px solid var(--soft); color: var(--soft); vertical-align: bottom;
    overflow-wrap: normal }
th:first-child { text-align: left; padding-left: 0; min-width: 180px }
td span, td small { white-space: nowrap }
small { display: block; font-size: 12px }
tr.ours b { color: var(--accent) }
td.fault { text-align: left }
.case { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; margin: 0 }
.pair { display: grid; align-content: end; grid-template-columns: 1fr 1fr; gap: 4px 12px; grid-column: span 2 }
.case figure { margin: 0 }
.pair > p { grid-column: 1 / -1; margin: 4px 0 0; font-size: 13px }
.case img { display: block; width: 100%; height: auto; background: #000; image-rendering: auto }
figcaption { font-size: 13px; margin-top: 4px }
dl { display: grid; grid-template-columns: minmax(110px, 200px) 1fr; gap: 6px 20px; margin: 12px 0 }
dt { color: var(--soft) }
dd { margin: 0 }
code { display: block; background: var(--sheet); padding: 8px 10px;
  font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
footer { margin-top: 56px; padding-top: 12px; border-top: 1px solid var(--rule); font-size: 14px }
@media screen and (max-width: 860px) {
  .wide { display: none }
  .narrow { display: block; max-width: 480px }
}
@media screen and (max-width: 1220px) {
  table, caption, tbody, tr, th[scope=row], td { display: block; text-align: left; padding: 0; border: 0; max-width:
    none; min-width: 0 }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
  tr { border-top: 1px solid var(--rule); padding: 14px 0; display: grid; grid-template-columns: repeat(auto-fill,
    minmax(100px, 1fr)); gap: 10px }
  tr > th, tr > .fault { grid-column: 1 / -1 }
  td[data-head]::before { content: attr(data-head); display: block; color: var(--soft); font-size: 12px }
}
@media screen and (max-width: 600px) {
  main { padding: 24px 16px 48px }
  h1 { font-size: 25px }
  .lead { font-size: 18px }
  .case { grid-template-columns: 1fr 1fr }
  dl { grid-template-columns: 1fr; gap: 0 }
  dd { margin-bottom: 10px }
}
@page { margin: 14mm }
@page broad { size: A4 landscape; margin: 10mm }
@media print {
  :root { color-scheme: light; --paper: #fff; --sheet: #f4f4f1; --ink: #000; --soft: #444; --rule: #ccc; --peer:
    #b9bcc1;
    --accent: #0b5fae; --wash: #0b5fae22 }
  body { font-size: 11pt; print-color-adjust: exact; -webkit-print-color-adjust: exact }
  main { padding: 0 }
  .figures { page: broad }
  table { font-size: 7.5pt } small { font-size: 7pt }
  th, td { padding-left: 6px }
  h2, h3, .note { break-after: avoid }
  .chart, tr, .pair, .case figure, dt, dd { break-inside: avoid }
}
"""
