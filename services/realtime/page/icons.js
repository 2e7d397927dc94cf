// @ts-check
/**
 * Line icons on a 24 by 24 grid, drawn in the colour of the text around them.
 *
 * @module
 */

const PATHS = {
  bell: ["M6 9a6 6 0 0 1 12 0c0 5 2 6.5 2.5 7.5h-17C4 15.5 6 14 6 9Z", "M10 20a2.2 2.2 0 0 0 4 0"],
  info: ["M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Z", "M12 11v5.5", "M12 7.5v.01"],
  success: ["M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Z", "m8 12.5 2.7 2.7L16 9.5"],
  warning: ["M12 4 2.8 19.5h18.4L12 4Z", "M12 10v4.5", "M12 17v.01"],
  error: ["M8.3 3h7.4L21 8.3v7.4L15.7 21H8.3L3 15.7V8.3L8.3 3Z", "M12 7.5v5", "M12 16v.01"],
  alert: ["M5 19h14", "M7 19v-7a5 5 0 0 1 10 0v7", "M12 3v1.5", "m4.5 6 1 1", "m19.5 6-1 1"],
  close: ["m6 6 12 12", "M18 6 6 18"],
  archive: ["M4 5h16v4H4V5Z", "M5.5 9v10h13V9", "M10 13h4"],
  unread: ["M14 6H4v12h16v-7", "m4 7 8 6 3-2.2", "M19 4a2 2 0 1 0 0 4 2 2 0 0 0 0-4Z"],
  snooze: ["M12 5a8 8 0 1 0 0 16 8 8 0 0 0 0-16Z", "M12 9v4l2.5 2", "M5 3 2.5 5.5", "m19 3 2.5 2.5"],
  back: ["M4 5v5h5", "M4.5 10a8 8 0 1 1-.3 4.5"],
  external: ["M14 4h6v6", "m20 4-8 8", "M18 14v6H4V6h6"],
  check: ["m5 12.5 4.5 4.5L19 7.5"],
};

/** @typedef {keyof typeof PATHS} IconName */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {string} name An unknown one gives the information icon: publishers choose their own types.
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [attribute, value] of Object.entries({
    viewBox: "0 0 24 24",
    fill: "none",
    stroke: "currentColor",
    "stroke-width": "1.8",
    "stroke-linecap": "round",
    "stroke-linejoin": "round",
    "aria-hidden": "true",
  })) {
    svg.setAttribute(attribute, value);
  }
  const paths = Object.hasOwn(PATHS, name) ? PATHS[/** @type {IconName} */ (name)] : PATHS.info;
  for (const d of paths) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}
