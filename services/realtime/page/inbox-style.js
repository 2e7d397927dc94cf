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
.top .quiet { flex: none; }
.connection {
  /* Where there is no room for dot and text, the text wraps into what is cut off. */
  display: flex; flex-wrap: wrap; flex: 0 1000 auto; gap: 0 6px; block-size: 20px; min-inline-size: 8px; overflow: hidden;
  margin-inline-end: auto; color: var(--_muted); font-size: 13px; line-height: 20px; white-space: nowrap;
}
.connection::before {
  content: ""; inline-size: 8px; block-size: 8px; margin-block: 6px; border-radius: 50%; background: currentColor;
}
.connection[data-state="open"]::before { background: var(--_success); }
:is(.connection[data-state="waiting"], .connection[data-state="connecting"])::before { background: var(--_warning); }
:is(.connection[data-state="stopped"], .connection[data-state="offline"])::before { background: var(--_critical); }
.top .mark-all { flex: 0 1 auto; font-size: 13px; line-height: 1.25; padding-inline: 8px; text-align: center; }
.tabs, .views {
  display: flex; flex: none; overflow-x: auto; overscroll-behavior-x: contain; scrollbar-width: none;
  border-block-end: 1px solid var(--_border);
}
.tabs { gap: 2px; padding-inline: 8px; scroll-padding-inline: 24px; }
.tab {
  display: flex; align-items: center; flex: none; gap: 6px; max-inline-size: 220px; padding: 6px 10px; min-block-size: 40px;
  border-radius: 8px 8px 0 0; border-block-end: 2px solid transparent; font-size: 14px; color: var(--_muted);
}
.tab:hover { color: var(--_text); }
.tab[aria-selected="true"] { color: var(--_text); font-weight: 600; border-block-end-color: var(--_accent); }
.tab:focus-visible { outline-offset: -3px; }
.tab-title { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; unicode-bidi: plaintext; }
.count {
  padding-inline: 6px; border-radius: 9px; font-size: 12px; line-height: 18px; font-weight: 600; color: var(--_text);
  font-variant-numeric: tabular-nums; background: color-mix(in srgb, var(--_text) 10%, transparent);
}
.tab[aria-selected="true"] .count { background: var(--_accent); color: var(--_on-accent); }
.views { gap: 4px; padding: 8px 12px; }
.tabs[hidden] + .views { padding-block-start: 0; }
.view {
  flex: none; padding: 4px 12px; min-block-size: 30px; border-radius: 15px; font-size: 13px; color: var(--_muted);
  white-space: nowrap;
}
.view:hover { color: var(--_text); }
.view:focus-visible { outline-offset: -2px; }
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
.entry .meta { padding-inline-end: 108px; }
.comes-back {
  display: flex; align-items: center; gap: 4px; margin-block-start: 4px; color: var(--_accent); font-size: 13px;
}
.comes-back svg { inline-size: 16px; block-size: 16px; }
.meta time { color: var(--_muted); font-size: 13px; }
.chip {
  padding: 0 8px; border-radius: 10px; font-size: 12px; line-height: 20px; color: var(--_tone);
  background: color-mix(in srgb, var(--_tone) 12%, transparent); overflow-wrap: anywhere;
}
.about { margin-block-start: 4px; color: var(--_muted); font-size: 13px; overflow-wrap: anywhere; unicode-bidi: plaintext; }
.actions { display: flex; align-items: center; gap: 2px; }
.entry .actions { justify-content: flex-end; margin-block-start: -28px; pointer-events: none; }
.entry .actions > * { pointer-events: auto; }
.entry .actions:has(.acknowledge, .acknowledged) { margin-block-start: 6px; }
.entry .meta:has(+ .actions > :is(.acknowledge, .acknowledged)) { padding-inline-end: 0; }
.entry .acknowledged { display: inline-flex; align-items: center; gap: 4px; color: var(--_success); font-size: 14px; }
.entry :is(.acknowledge, .acknowledged) { margin-inline-end: auto; }
.choices { display: flex; flex-wrap: wrap; gap: 8px; margin-block-start: 8px; }
.choices:empty { display: none; }
.action {
  display: inline-flex; flex-wrap: wrap; align-items: center; gap: 0 6px; max-inline-size: 100%; min-block-size: 32px; padding: 4px 12px;
  border-radius: 8px; font-size: 14px; font-weight: 600; text-decoration: none; overflow-wrap: anywhere;
}
.action:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
.action.secondary { color: var(--_text); border: 1px solid color-mix(in srgb, var(--_muted) 55%, var(--_border)); background: var(--_surface); }
.action.secondary:hover { background: var(--_raised); }
.action[aria-busy="true"] { opacity: .55; cursor: progress; }
.action .label, .done .label { unicode-bidi: plaintext; }
.action .host { font-weight: 400; opacity: .85; }
.action svg { inline-size: 14px; block-size: 14px; }
:host(:dir(rtl)) .action svg, [dir="rtl"] .action svg { transform: scaleX(-1); }
.done {
  display: inline-flex; align-items: center; gap: 4px; min-block-size: 32px; color: var(--_success); font-size: 14px;
  font-weight: 600;
}
.done svg { inline-size: 18px; block-size: 18px; }
.note { padding: 28px 16px; text-align: center; color: var(--_muted); }
.note:empty { display: none; }
.acknowledge { font-size: 14px; }
.retry { color: var(--_accent); text-decoration: underline; }
.older { display: block; inline-size: 100%; padding: 12px; text-align: center; color: var(--_accent); }

.menu {
  position: fixed; inset: auto; margin: 0; padding: 6px; inline-size: max-content; min-inline-size: 240px;
  max-inline-size: calc(100vw - 12px); border: 1px solid var(--_border); border-radius: 10px; background: var(--_surface);
  color: var(--_text); box-shadow: 0 12px 36px light-dark(#1a203033, #00000099);
}
.item {
  display: flex; justify-content: space-between; gap: 24px; inline-size: 100%; padding: 8px 10px; min-block-size: 40px;
  align-items: center; border-radius: 6px;
}
.item:hover, .item:focus-visible { background: var(--_raised); }
.item:focus-visible { outline-offset: -2px; }
.when { color: var(--_muted); font-size: 13px; white-space: nowrap; }

.toasts {
  position: fixed; inset-block: auto 0; inset-inline: auto 0; margin: 0; border: 0; background: none; color: var(--_text);
  padding-block: 16px max(16px, env(safe-area-inset-bottom));
  padding-inline: max(16px, env(safe-area-inset-left), env(safe-area-inset-right));
  inline-size: min(412px, 100vw); max-block-size: 100dvh; overflow-y: auto; flex-direction: column; gap: 10px;
  /* What shows between and beside the toasts can be used. */
  pointer-events: none;
}
.toasts > * { pointer-events: auto; }
.toasts:popover-open { display: flex; }
.toast {
  display: flex; flex: none; gap: 12px; padding-block: 12px; padding-inline: 18px 8px; background: var(--_surface);
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
  .entry .meta { padding-inline-end: 132px; }
  .tab { min-block-size: 44px; }
  .action { min-block-size: 40px; }
  .quiet svg { margin: auto; }
}
@media (prefers-reduced-motion: no-preference) {
  .toast { animation: arrive .22s ease-out; }
  .panel:popover-open { animation: unfold .14s ease-out; }
  .connection[data-state="connecting"]::before { animation: pulse 1.2s ease-in-out infinite alternate; }
}
@media (forced-colors: active) {
  .tab[aria-selected="true"] { border-block-end-color: Highlight; }
  :is(.entry[data-unread], .toast)::before { background: Highlight; }
  .badge { border: 1px solid; }
}
@keyframes arrive { from { opacity: 0; transform: translateY(12px); } }
@keyframes unfold { from { opacity: 0; transform: translateY(-6px); } }
@keyframes pulse { to { opacity: .3; } }
`);
