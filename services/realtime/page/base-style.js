// @ts-check
/**
 * What Carillon's elements have in common: colours, text and buttons.
 *
 * A constructed sheet: no style element or attribute that a content security policy would have to allow. Every colour
 * and size that a page may want to change is a custom property `--carillon-…` with a default here.
 *
 * @module
 */

import { styleSheet } from "./custom-element.js";

export const BASE_STYLE = styleSheet(`
:host {
  --_accent: var(--carillon-accent, light-dark(#3157c8, #93b1ff));
  --_on-accent: var(--carillon-on-accent, light-dark(#ffffff, #10182c));
  --_surface: var(--carillon-surface, light-dark(#ffffff, #191d26));
  --_raised: var(--carillon-raised, light-dark(#f3f5f9, #232936));
  --_text: var(--carillon-text, light-dark(#1a2030, #e9edf5));
  --_muted: var(--carillon-muted, light-dark(#59627a, #a3adc2));
  --_border: var(--carillon-border, light-dark(#dde2ec, #323a4b));
  --_info: var(--carillon-info, light-dark(#3157c8, #93b1ff));
  --_success: var(--carillon-success, light-dark(#19734a, #6fd3a3));
  --_warning: var(--carillon-warning, light-dark(#935800, #f3bd62));
  --_critical: var(--carillon-critical, light-dark(#c0272d, #ff8f8b));
  --_radius: var(--carillon-radius, 12px);
  --_font: var(--carillon-font, system-ui, sans-serif);
  color-scheme: light dark;
  font: 15px/1.45 var(--_font);
  color: var(--_text);
}
:host([theme="light"]) { color-scheme: light; }
:host([theme="dark"]) { color-scheme: dark; }
:host([hidden]), [hidden] { display: none !important; }
*, ::before, ::after { box-sizing: border-box; }
h2, p, ul { margin: 0; padding: 0; }
ul { list-style: none; }
svg { display: block; inline-size: 20px; block-size: 20px; flex: none; }
.hidden-text {
  position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap;
}

button {
  font: inherit; color: inherit; background: none; border: 0; padding: 0; margin: 0; text-align: start;
  border-radius: 8px; cursor: pointer; touch-action: manipulation;
}
button:focus-visible, .panel:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
.panel:focus-visible { outline-offset: -2px; }
button:disabled { opacity: .45; cursor: default; }
.quiet { color: var(--_muted); padding: 6px; min-inline-size: 32px; min-block-size: 32px; }
.quiet:hover:enabled { color: var(--_text); background: color-mix(in srgb, var(--_text) 9%, transparent); }
.primary {
  background: var(--_accent); color: var(--_on-accent); font-weight: 600; padding: 6px 14px; min-block-size: 32px;
}
.primary:hover { filter: brightness(1.08); }
`);
