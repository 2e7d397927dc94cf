// @ts-check
/**
 * One connection over WebSocket or Server-Sent Events, both behind the same face.
 *
 * A link is one attempt: it never reconnects. It calls `closed` exactly once, unless the caller closed it, and no
 * frame follows.
 *
 * @module
 */

/** @import { ClientFrame, ServerFrame } from "./types.js" */

/**
 * @typedef {object} LinkEvents
 * @property {(frame: ServerFrame, cursor: string | null) => void} frame
 * @property {(code: number | null) => void} closed The close code, or null where the transport has none.
 */

/**
 * @typedef {object} Link
 * @property {(frame: ClientFrame) => boolean} send False if this link cannot carry it now.
 * @property {() => void} close
 */

/** EventSource hands out named events only to listeners of that name. */
const FRAME_TYPES = ["hello", "notification", "unread", "recalled", "status", "gap"];
/** Above this much unsent data the peer is not reading, and a frame would only grow the buffer. */
const SEND_BUFFER_BYTES = 64 * 1024;

/**
 * @param {URL} address
 * @param {LinkEvents} events
 * @returns {Link}
 */
export function openWebSocket(address, events) {
  const url = new URL(address);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url);
  let over = false;
  socket.onmessage = ({ data }) => {
    const frame = parse(data);
    if (frame && !over) events.frame(frame, "cursor" in frame ? (frame.cursor ?? null) : null);
  };
  socket.onclose = ({ code }) => {
    if (over) return;
    over = true;
    events.closed(code);
  };
  return {
    send(frame) {
      if (socket.readyState !== WebSocket.OPEN || socket.bufferedAmount > SEND_BUFFER_BYTES) return false;
      socket.send(JSON.stringify(frame));
      return true;
    },
    close() {
      over = true;
      socket.close(1000);
    },
  };
}

/**
 * @param {URL} address
 * @param {LinkEvents} events
 * @returns {Link}
 */
export function openEventSource(address, events) {
  const source = new EventSource(address);
  let over = false;
  /** @param {MessageEvent<string>} event */
  const receive = (event) => {
    const frame = parse(event.data, event.type);
    if (frame && !over) events.frame(frame, event.lastEventId || null);
  };
  for (const type of FRAME_TYPES) source.addEventListener(type, receive);
  // Left alone, an EventSource repeats its address, and with it a ticket that is used up.
  source.onerror = () => {
    if (over) return;
    over = true;
    source.close();
    events.closed(null);
  };
  return {
    send: () => false,
    close() {
      over = true;
      source.close();
    },
  };
}

/**
 * @param {unknown} text
 * @param {string} [type] The frame's type where the text does not carry it.
 * @returns {ServerFrame | null} Null for what is not a frame; a newer server may send such.
 */
function parse(text, type) {
  if (typeof text !== "string") return null;
  try {
    const frame = JSON.parse(text);
    if (typeof frame !== "object" || frame === null) return null;
    return type === undefined ? frame : { ...frame, type };
  } catch {
    return null;
  }
}
