"""The few style rules that the theme has no option for."""

STYLE = """<style>
.stMainBlockContainer { padding: 4.2rem 2rem 4rem; max-width: 1440px; }
.st-key-top { border-bottom: 1px solid rgba(128, 140, 135, .22);
  padding-bottom: .7rem; margin-bottom: .3rem; }
.st-key-top > div:first-child { flex: 1 1 12rem; min-width: 0; }
.title { font-size: 1.6rem; font-weight: 650; line-height: 1.15; letter-spacing: -.01em; }
.title small { display: block; font-size: .78rem; font-weight: 500; opacity: .62; letter-spacing: .02em;
  margin-bottom: .15rem; }
.sight { font-size: .78rem; opacity: .7; padding: .25rem .2rem 0; line-height: 1.3; }
.quiet { font-size: .82rem; opacity: .68; line-height: 1.4; }
.fig { font-variant-numeric: tabular-nums; }
[data-testid="stMetricValue"], table { font-variant-numeric: tabular-nums; }
div[class*="st-key-tile-"] { background: var(--tile, rgba(128, 140, 135, .05));
  border: 1px solid rgba(128, 140, 135, .2); border-radius: 10px; padding: .75rem .9rem .7rem;
  height: 100%; }
[data-testid="stGridCellContent"] > div, [data-testid="stGridCellContent"] > div > div,
div:has(> div[class*="st-key-tile-"]) { flex: 1 1 auto; }
div[class*="st-key-tile-"] { position: relative; }
div[class*="st-key-menu-"] { position: absolute; right: .35rem; top: .3rem; width: auto; z-index: 2; }
div[class*="st-key-menu-"] button { min-height: 1.9rem; padding: 0 .3rem; opacity: .55; }
div[class*="st-key-menu-"] button:hover { opacity: 1; }
div[class*="st-key-menu-"] button [data-testid="stIconMaterial"]:last-child:not(:first-child),
div[class*="st-key-menu-"] button > div > div:nth-child(2) { display: none; }
.tile-title { padding-right: 1.8rem; font-weight: 600; font-size: .95rem; line-height: 1.3; }
.tile-note { font-size: .78rem; opacity: .66; line-height: 1.35; }
.big-figure { font-size: 2rem; font-weight: 620; letter-spacing: -.02em; line-height: 1.15;
  font-variant-numeric: tabular-nums; }
.mid-figure { font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums; }
ul.changes { margin: 0; padding: 0; list-style: none; display: flex; flex-wrap: wrap; gap: .1rem .9rem; }
ul.changes small { opacity: .62; } ul.changes s { opacity: .6; }
td.key { white-space: nowrap; vertical-align: top; } .plan td { vertical-align: top; }
.plan { max-height: 30rem; overflow-y: auto; }
.delta { font-size: .85rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.delta span { font-weight: 400; opacity: .68; }
table.grid { border-collapse: collapse; width: 100%; font-size: .85rem; }
table.grid th { text-align: left; font-weight: 600; opacity: .7;
  border-bottom: 1px solid rgba(128, 140, 135, .35);
  padding: .3rem .5rem .3rem 0; white-space: nowrap; }
table.grid td { border-bottom: 1px solid rgba(128,140,135,.16); padding: .32rem .5rem .32rem 0; }
table.grid .n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
table.grid tr.total td { font-weight: 600; border-top: 1px solid rgba(128, 140, 135, .5); }
table.grid tr.subtotal td { font-weight: 600; } table.grid tr.other td { font-style: italic; }
.scroll { overflow-x: auto; max-width: 100%; }
.st-key-by-bar > div:has([data-testid="stMultiSelect"]) { min-width: 15rem; }
.meaning td:nth-child(3) { min-width: 12rem; }
.none { opacity: .5; }
.access td { vertical-align: top; min-width: 5.5rem; } .access td:nth-child(n+2) { min-width: 8rem; }
.access td:nth-child(n+4) { min-width: 11rem; }
.change { display: flex; font-size: .85rem; line-height: 1.5; }
.change b { flex: 0 0 3.6rem; font-weight: 600; }
.change.wider b { color: #b4690e; } .change.different b { color: #8250c4; }
.change.narrower b { color: #2f7dae; }
.clamp { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden; }
.facts { display: flex; flex-wrap: wrap; gap: .6rem 2rem; padding: .3rem 0 .4rem; }
.facts small { display: block; font-size: .75rem; opacity: .62; }
@media (max-width: 640px) {
  .stMainBlockContainer { padding: 3.8rem .9rem 3rem; }
  .title { font-size: 1.35rem; }
  .big-figure { font-size: 1.5rem; }
}
</style>"""
