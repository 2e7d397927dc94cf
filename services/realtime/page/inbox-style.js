// @ts-check
/**
 * The look of `<carillon-inbox>`, on top of `base-style.js`.
 *
 * @module
 */

import { styleSheet } from "./custom-element.js";

export const INBOX_STYLE = styleSheet(`
:host {
  display: inline-block;
  position: relative;
}

.bell { display: grid; place-items: center; inline-size: 42px; block-size: 42px; border-radius: 50%; position: relative; }
.bell svg { inline-size: 24px; block-size: 24px; }
.bell:hover { background: color-mix(in srgb, currentColor 10%, transparent); }
.badge {
  /* It grows inwards, so that three characters stay on the bell. */
  position: absolute; inset-block-start: 1px; inset-inline-end: 0; min-inline-size: 20px; block-size: 20px;
  padding: 0 4px; border-radius: 10px; font-size: 12px; line-height: 20px; font-weight: 700; text-align: center;
  font-variant-numeric: tabular-nums; unicode-bidi: plaintext; background: var(--_critical); color: light-dark(#ffffff, #2b0708);
}

.panel {
  position: fixed; inset: var(--_top, 60px) auto var(--_bottom, auto) var(--_left, 8px); margin: 0; padding: 0;
  inline-size: min(var(--carillon-panel-width, 420px), 100vw - 16px);
  max-block-size: min(680px, var(--_room, 100dvh - 72px));
  flex-direction: column; overflow: hidden;
  background: var(--_surface); color: var(--_text); border: 1px solid var(--_border); border-radius: var(--_radius);
  box-shadow: 0 16px 48px light-dark(#1a203033, #00000099);
}
.panel:popover-open { display: flex; }
.top { display: flex; align-items: center; gap: 8px; padding-block: 10px 6px; padding-inline: 16px 8px; }
h2 { font-size: 17px; font-weight: 650; }
.connection {
  display: inline-flex; align-items: center; gap: 6px; margin-inline-end: auto; color: var(--_muted); font-size: 13px;
}
.connection::before { content: ""; inline-size: 8px; block-size: 8px; border-radius: 50%; background: currentColor; }
.connection[data-state="open"]::before { background: var(--_success); }
:is(.connection[data-state="waiting"], .connection[data-state="connecting"])::before { background: var(--_warning); }
:is(.connection[data-state="stopped"], .connection[data-state="offline"])::before { background: var(--_critical); }
.mark-all { font-size: 13px; padding-inline: 8px; white-space: nowrap; }
.views { display: flex; gap: 4px; padding: 0 12px 8px; border-block-end: 1px solid var(--_border); }
.view { padding: 4px 12px; min-block-size: 30px; border-radius: 15px; font-size: 13px; color: var(--_muted); }
.view[aria-pressed="true"] { background: var(--_raised); color: var(--_text); font-weight: 600; }
.trouble:not(:empty) { padding: 8px 16px; color: var(--_critical); }

[data-tone="info"] { --_tone: var(--_info); }
[data-tone="success"] { --_tone: var(--_success); }
[data-tone="warning"] { --_tone: var(--_warning); }
[data-tone="critical"] { --_tone: var(--_critical); }

.status {
  display: flex; gap: 10px; padding: 10px 16px; border-block-end: 1px solid var(--_border);
  background: color-mix(in srgb, var(--_tone) 11%, var(--_surface)); overflow-wrap: anywhere; font-size: 14px;
}
.status svg { color: var(--_tone); }
.status strong { font-weight: 600; }
.status span { display: block; color: var(--_muted); }

.list { overflow-y: auto; overscroll-behavior: contain; min-block-size: 120px; }
.entry { position: relative; display: flex; gap: 12px; padding-block: 12px 8px; padding-inline: 16px 12px; cursor: pointer; }
.entry + .entry { border-block-start: 1px solid var(--_border); }
.entry:hover { background: color-mix(in srgb, var(--_text) 4%, transparent); }
.entry[data-unread] { background: color-mix(in srgb, var(--_accent) 7%, transparent); }
.entry[data-unread]::before {
  content: ""; position: absolute; inset-block: 0; inset-inline-start: 0; inline-size: 3px; background: var(--_tone);
}
.mark {
  display: grid; place-items: center; flex: none; inline-size: 32px; block-size: 32px; border-radius: 50%;
  color: var(--_tone); background: color-mix(in srgb, var(--_tone) 14%, transparent);
}
.mark svg { inline-size: 18px; block-size: 18px; }
.content { flex: 1; min-inline-size: 0; position: relative; }
.open { display: block; inline-size: 100%; font-weight: 500; overflow-wrap: anywhere; border-radius: 4px; }
.title, .message {
  display: -webkit-box; overflow: hidden; -webkit-box-orient: vertical; -webkit-line-clamp: 2; line-clamp: 2;
  /* Each text runs in the direction of its own language. */
  unicode-bidi: plaintext;
}
.entry[data-unread] .open, .toast .open { font-weight: 650; }
.message { overflow-wrap: anywhere; white-space: pre-line; color: var(--_muted); }
.entry[data-expanded] :is(.title, .message) { display: block; }
.link { display: inline-block; margin-block-start: 4px; color: var(--_accent); overflow-wrap: anywhere; }
.meta { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 8px; margin-block-start: 6px; min-block-size: 24px; }
.entry .meta { padding-inline-end: 72px; }
.meta time { color: var(--_muted); font-size: 13px; }
.chip {
  padding: 0 8px; border-radius: 10px; font-size: 12px; line-height: 20px; color: var(--_tone);
  background: color-mix(in srgb, var(--_tone) 12%, transparent); overflow-wrap: anywhere;
}
.about { margin-block-start: 4px; color: var(--_muted); font-size: 13px; overflow-wrap: anywhere; unicode-bidi: plaintext; }
.actions { display: flex; align-items: center; gap: 2px; }
.entry .actions { justify-content: flex-end; margin-block-start: -28px; pointer-events: none; }
.entry .actions > * { pointer-events: auto; }
.entry .actions:has(.acknowledge) { margin-block-start: 6px; }
.entry .actions:has(.acknowledged) { margin-block-start: 6px; }
.entry .acknowledged { display: inline-flex; align-items: center; gap: 4px; color: var(--_success); font-size: 14px; }
.entry :is(.acknowledge, .acknowledged) { margin-inline-end: auto; }
.note { padding: 28px 16px; text-align: center; color: var(--_muted); }
.note:empty { display: none; }
.retry { color: var(--_accent); text-decoration: underline; }
.older { display: block; inline-size: 100%; padding: 12px; text-align: center; color: var(--_accent); }

.toasts {
  position: fixed; inset: auto 0 0 auto; margin: 0; border: 0; background: none; color: var(--_text);
  padding: 16px max(16px, env(safe-area-inset-right)) max(16px, env(safe-area-inset-bottom)) 16px;
  inline-size: min(412px, 100vw); max-block-size: 100dvh; overflow-y: auto; flex-direction: column; gap: 10px;
  /* What shows between and beside the toasts can be used. */
  pointer-events: none;
}
.toasts > * { pointer-events: auto; }
.toasts:popover-open { display: flex; }
.toast {
  display: flex; flex: none; gap: 12px; padding: 12px 8px 12px 18px; background: var(--_surface);
  border: 1px solid var(--_border); border-radius: var(--_radius); position: relative; overflow: hidden;
  box-shadow: 0 8px 28px light-dark(#1a203029, #00000080);
}
.toast::before {
  content: ""; position: absolute; inset-block: 0; inset-inline-start: 0; inline-size: 4px; background: var(--_tone);
}
.toast[data-tone="critical"] { background: color-mix(in srgb, var(--_critical) 8%, var(--_surface)); }
.toast .message { -webkit-line-clamp: 3; line-clamp: 3; }
.toast .meta:empty { display: none; }
.toast .actions { margin-block-start: 8px; }
.toast .dismiss { align-self: flex-start; }
.more { font-size: 13px; text-align: center; color: var(--_muted); }
.more:empty { display: none; }

@media (max-width: 480px) {
  .panel {
    inset: 0; inline-size: 100%; block-size: 100dvh; max-inline-size: none; max-block-size: none; border: 0;
    border-radius: 0;
  }
  .top { padding-block-start: max(10px, env(safe-area-inset-top)); }
  .list { flex: 1; padding-block-end: env(safe-area-inset-bottom); }
  .toasts { inline-size: 100vw; padding-inline: 12px; }
  .quiet { min-inline-size: 40px; min-block-size: 40px; }
  .entry .actions { margin-block-start: -32px; }
  .entry .meta { padding-inline-end: 88px; }
  .quiet svg { margin: auto; }
}
@media (prefers-reduced-motion: no-preference) {
  .toast { animation: arrive .22s ease-out; }
  .panel:popover-open { animation: unfold .14s ease-out; }
  .connection[data-state="connecting"]::before { animation: pulse 1.2s ease-in-out infinite alternate; }
}
@media (forced-colors: active) {
  :is(.entry[data-unread], .toast)::before { background: Highlight; }
  .badge { border: 1px solid; }
}
@keyframes arrive { from { opacity: 0; transform: translateY(12px); } }
@keyframes unfold { from { opacity: 0; transform: translateY(-6px); } }
@keyframes pulse { to { opacity: .3; } }
`);
