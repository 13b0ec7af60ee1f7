"""Style of the sync pages: what the theme and the other pages have no rule for."""

STYLE = """<style>
.stApp { --good: light-dark(#0f766e, #5eead4); --warn: light-dark(#96530a, #f0b35a);
  --bad: light-dark(#a83232, #f19999); --busy: light-dark(#3650b0, #a9b8f5); }
.sync-head { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem .8rem; }
.sync-head h2 { font-size: 1.3rem; font-weight: 640; margin: 0; padding: 0; letter-spacing: -.01em; }
.pill { font-size: .78rem; font-weight: 600; border-radius: 99px; padding: .12rem .6rem; white-space: nowrap;
  background: rgba(128,140,135,.16); }
.pill.good { background: rgba(15,118,110,.13); color: var(--good); }
.pill.held { background: rgba(217,119,6,.16); color: var(--warn); }
.pill.bad { background: rgba(190,63,63,.14); color: var(--bad); }
.pill.busy { background: rgba(79,107,216,.14); color: var(--busy); }
.document { display: flex; flex-wrap: wrap; gap: .5rem 3.4rem; }
.document > .figures + .figures { padding-left: 2rem; border-left: 1px solid rgba(128,140,135,.28); }
.figures { display: flex; flex-wrap: wrap; gap: .7rem 2.2rem; padding: .15rem 0 .1rem; }
.figures > div { min-width: 3.6rem; }
.figures small { display: block; font-size: .76rem; opacity: .66; white-space: nowrap; }
.figures b { font-size: 1.45rem; font-weight: 620; letter-spacing: -.01em; line-height: 1.2;
  font-variant-numeric: tabular-nums; }
.figures .zero b { opacity: .35; }
.figures .words b { font-size: 1.02rem; font-weight: 560; line-height: 1.75; }
.figures .create b { color: var(--good); } .figures .update b { color: var(--warn); }
.figures .remove b, .figures .rejected b { color: var(--bad); }
.aside { display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; font-size: .84rem; opacity: .78; }
.aside b { font-weight: 600; font-variant-numeric: tabular-nums; }
.bar { display: flex; height: .5rem; border-radius: 4px; overflow: hidden; gap: 1px; min-width: 4rem;
  background: rgba(128,140,135,.14); }
.bar i { display: block; min-width: 3px; }
.accepted { --c: #0f766e; } .rejected { --c: #c2453f; } .deferred { --c: #d99a2b; } .unknown { --c: #7c5cbf; }
.bar i, .sum i { background: var(--c); }
.sum { font-size: .9rem; font-variant-numeric: tabular-nums; line-height: 1.7; }
.sum i { display: inline-block; width: .6rem; height: .6rem; border-radius: 3px; margin: 0 .28rem 0 .1rem; }
.sum span { white-space: nowrap; } .sum .nil { opacity: .5; }
.run { display: grid; grid-template-columns: 8.2rem 6.5rem minmax(6rem, 1fr) minmax(13rem, 1.5fr)
    minmax(9rem, 1fr); gap: .2rem 1rem; align-items: center; font-size: .86rem; width: 100%; }
.run .pill { justify-self: start; }
.run .when, .run .who { opacity: .7; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.run .what { font-variant-numeric: tabular-nums; }
div[class*="st-key-runrow-"] { border-bottom: 1px solid rgba(128,140,135,.18); padding: .12rem 0; }
div[class*="st-key-runrow-"] > div:last-child { flex: 1 1 18rem; min-width: 0; }
div[class*="st-key-runrow-"] button { min-height: 1.9rem; min-width: 4.6rem; padding: 0;
  justify-content: flex-start; }
div[class*="st-key-runrow-"] button > div { justify-content: flex-start; width: 100%; }
.rows { max-height: 34rem; overflow: auto; }
.rows td { vertical-align: top; }
.rows td.key, .rows td.kind { width: 1%; padding-right: 1.4rem; }
.rows th { padding-right: 1.4rem; }
.rows td.key a { color: inherit; text-decoration: underline dotted rgba(128,140,135,.7); }
.rows td.key a:hover { color: var(--primary-color, #0f766e); }
.rows td.kind { white-space: nowrap; opacity: .75; }
.rows ul.changes { gap: .1rem 1.3rem; } .rows ul.changes li { font-size: .86rem; line-height: 1.5; }
.rows ul.changes s { text-decoration-color: rgba(176,58,58,.6); }
.reasons td, .reasons th { padding-right: 1.2rem !important; } .reasons .n { width: 4rem; }
.reasons td.rejected { color: var(--bad); font-weight: 600; }
.fact { font-size: .88rem; line-height: 1.5; padding-top: .15rem; }
.told { border-left: 3px solid var(--c, #8a938f); padding: .1rem 0 .15rem .8rem; margin: .1rem 0 .55rem; }
.told .line { font-size: .9rem; } .told .line b { font-weight: 600; }
.told ul.changes li { font-size: .86rem; }
@media (max-width: 1000px) {
  .document > .figures + .figures { padding-left: 0; border-left: 0; }
  .run { grid-template-columns: auto auto 1fr; } .run .bar { grid-column: 1 / 3; }
  .run .what { grid-column: 1 / -1; grid-row: 2; } .run .bar { grid-row: 3; grid-column: 1 / -1; }
}
</style>"""
