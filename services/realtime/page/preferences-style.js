// @ts-check
/**
 * The look of `<carillon-preferences>`, on top of `base-style.js`.
 *
 * @module
 */

import { styleSheet } from "./custom-element.js";

export const PREFERENCES_STYLE = styleSheet(`
:host { display: grid; gap: 16px; }
fieldset { border: 0; margin: 0; padding: 0; min-inline-size: 0; }
legend, h3 { padding: 0; margin: 0; font-size: 15px; font-weight: 650; }
.channels[disabled] .row { opacity: .6; }
.row { display: flex; align-items: center; gap: 16px; padding: 10px 0; border-block-end: 1px solid var(--_border); }
.row > div { flex: 1; min-inline-size: 0; }
label { font-weight: 500; cursor: pointer; }
.row p, .note, .browser p { color: var(--_muted); font-size: 14px; }
.note { padding-block-start: 10px; }
.browser:not(:empty) { display: grid; gap: 8px; justify-items: start; }
.trouble:not(:empty) { color: var(--_critical); }

input {
  appearance: none; flex: none; margin: 0; inline-size: 44px; block-size: 26px; border-radius: 13px; cursor: pointer;
  position: relative; background: var(--_muted);
}
input::before {
  content: ""; position: absolute; inset-block-start: 3px; inset-inline-start: 3px; inline-size: 20px; block-size: 20px;
  border-radius: 50%; background: var(--_surface);
}
input:checked { background: var(--_accent); }
input:checked::before { inset-inline-start: 21px; }
input:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }

@media (prefers-reduced-motion: no-preference) {
  input, input::before { transition: background-color .15s, inset-inline-start .15s; }
}
@media (forced-colors: active) {
  input { appearance: auto; }
  input::before { display: none; }
}
`);
