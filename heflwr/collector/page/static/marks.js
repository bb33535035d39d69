// Small signs that several views share.

import { h, svg, write } from "./dom.js";

/** Most lines that one axis takes before nobody can tell them apart: the palette's length. */
export const ITEMS_MAX = 8;

export const HEALTH_WORDS = { live: "live", stale: "stale", lost: "lost" };

/** A shape and a colour a health, so that either is enough: a disc, a triangle, a ring. */
export function healthMark(health = "lost") {
  const mark = svg("svg", { class: "health", viewBox: "0 0 12 12", "aria-hidden": "true" });
  setHealth(mark, health);
  return mark;
}

export function setHealth(mark, health) {
  if (mark.dataset.health === health) return;
  mark.dataset.health = health;
  const shapes = {
    live: () => svg("circle", { cx: 6, cy: 6, r: 4.5 }),
    stale: () => svg("path", { d: "M6 1.2 11 10.4H1Z" }),
    lost: () => svg("circle", { cx: 6, cy: 6, r: 3.8, class: "ring" }),
  };
  mark.replaceChildren((shapes[health] ?? shapes.lost)());
}

/** A number over its name. */
export function tile(title) {
  const value = h("div", { class: "value" }, "–");
  const detail = h("div", { class: "detail" });
  const element = h("div", { class: "tile" }, h("div", { class: "title" }, title), value, detail);
  return {
    element,
    set: (text, more = "") => {
      write(value, text);
      write(detail, more);
    },
    detail,
  };
}
