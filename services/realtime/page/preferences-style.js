// @ts-check
/**
 * The look of `<carillon-preferences>`, on top of `base-style.js`.
 *
 * @module
 */

import { styleSheet } from "./custom-element.js";

export const PREFERENCES_STYLE = styleSheet(`
.all { display: grid; gap: 24px; }
fieldset { border: 0; margin: 0; padding: 0; min-inline-size: 0; }
legend, h3 { padding: 0; margin: 0; font-size: 15px; font-weight: 650; }
section { display: grid; gap: 10px; min-inline-size: 0; }
section > p, .card p, .row p, .note, .browser p { color: var(--_muted); font-size: 14px; }
.channels[disabled] .row { opacity: .6; }
.row { display: flex; align-items: center; gap: 16px; padding: 10px 0; border-block-end: 1px solid var(--_border); }
.row > div { flex: 1; min-inline-size: 0; }
label { font-weight: 500; cursor: pointer; }
.note { padding-block-start: 10px; }
.browser:empty { display: none; }
.browser { display: grid; gap: 8px; justify-items: start; }
/* Wherever in the settings it happened, it is in sight; while it is empty it takes no place. */
.trouble:empty { position: absolute; }
.trouble:not(:empty) {
  position: sticky; inset-block-end: 8px; padding: 8px 12px; color: var(--_critical); background: var(--_surface);
  border: 1px solid var(--_critical); border-radius: var(--_radius);
}

.cards { display: grid; gap: 10px; }
.cards:empty { display: none; }
.card {
  display: grid; gap: 10px; justify-items: start; padding: 12px 14px 14px; border: 1px solid var(--_border);
  border-radius: var(--_radius);
}
/* A legend of its own place is drawn on the border. */
.card > legend:not(.hidden-text) { float: inline-start; inline-size: 100%; overflow-wrap: anywhere; }
.card strong { color: var(--_text); font-weight: 600; }
.card .unsubscribed { color: var(--_warning); }
.chips, .days, .times, .pause-choices { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; }
.chip, .day, .fixed {
  display: inline-flex; align-items: center; gap: 6px; min-block-size: 34px; padding: 4px 9px; font-size: 14px;
  border: 1px solid var(--_border); border-radius: 17px; background: var(--_surface);
}
.chip:has(:checked), .day:has(:checked) {
  border-color: var(--_accent); background: color-mix(in srgb, var(--_accent) 12%, var(--_surface));
}
.chip:focus-within:has(:focus-visible), .day:focus-within:has(:focus-visible) {
  outline: 2px solid var(--_accent); outline-offset: 2px;
}
.chip input, .day input { inline-size: 16px; block-size: 16px; margin: 0; accent-color: var(--_accent); outline: none; }
.fixed { color: var(--_muted); background: var(--_raised); font-weight: 500; }
.fixed svg { inline-size: 16px; block-size: 16px; }
.digest, .times label, .zone-row { display: inline-flex; align-items: center; gap: 8px; font-size: 14px; }
.times { gap: 8px 14px; inline-size: 100%; }
.times .next-day { color: var(--_muted); font-size: 14px; }
.times .remove { margin-inline-start: auto; }
.zone-row { flex-wrap: wrap; }
select, [type="time"], .zone {
  font: inherit; font-size: 14px; color: inherit; background: var(--_raised); border: 1px solid var(--_muted);
  border-radius: 8px; padding: 4px 8px; min-block-size: 34px; min-inline-size: 0; max-inline-size: 100%;
}
.zone { inline-size: 240px; }
.plain {
  border: 1px solid var(--_border); background: var(--_raised); padding: 5px 12px; min-block-size: 34px; font-size: 14px;
  font-weight: 500; justify-self: start;
}
.plain:hover:enabled { border-color: var(--_muted); }
.reset { font-size: 14px; padding-inline: 0; text-decoration: underline; text-underline-offset: 3px; }
:is(select, [type="time"], .zone):focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }

[role="switch"] {
  appearance: none; flex: none; margin: 0; inline-size: 44px; block-size: 26px; border-radius: 13px; cursor: pointer;
  position: relative; background: var(--_muted);
}
[role="switch"]::before {
  content: ""; position: absolute; inset-block-start: 3px; inset-inline-start: 3px; inline-size: 20px; block-size: 20px;
  border-radius: 50%; background: var(--_surface);
}
[role="switch"]:checked { background: var(--_accent); }
[role="switch"]:checked::before { inset-inline-start: 21px; }
[role="switch"]:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }

@media (prefers-reduced-motion: no-preference) {
  [role="switch"], [role="switch"]::before { transition: background-color .15s, inset-inline-start .15s; }
}
@media (forced-colors: active) {
  [role="switch"] { appearance: auto; }
  [role="switch"]::before { display: none; }
}
`);
