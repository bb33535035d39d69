// A line as small as a word: one SVG path and the wash beneath it. Colours come from the style sheet.

import { svg } from "./dom.js";

const WIDTH = 100;
const HEIGHT = 24;
const INSET = 1.5; // half a line's width, so that neither edge cuts it

export class Spark {
  #line = svg("path", { class: "spark-line" });
  #wash = svg("path", { class: "spark-wash" });
  #drawn = "";

  constructor() {
    this.element = svg(
      "svg",
      { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      this.#wash,
      this.#line,
    );
  }

  /** `values` are numbers and nulls at equal distances; `top` is the number at the upper edge. */
  draw(values, top) {
    const [line, wash] = paths(values ?? [], top);
    if (line === this.#drawn) return;
    this.#drawn = line;
    this.#line.setAttribute("d", line);
    this.#wash.setAttribute("d", wash);
  }
}

function paths(values, top) {
  const step = WIDTH / Math.max(1, values.length - 1);
  const scale = (HEIGHT - 2 * INSET) / (top > 0 ? top : 1);
  let line = "";
  let wash = "";
  let start = -1;
  for (let place = 0; place <= values.length; place += 1) {
    const value = values[place] ?? null;
    if (value !== null) {
      const x = (place * step).toFixed(1);
      const y = (HEIGHT - INSET - Math.max(0, Math.min(value, top || 1)) * scale).toFixed(1);
      const mark = start < 0 ? "M" : "L";
      line += `${mark}${x} ${y}`;
      wash += `${start < 0 ? `M${x} ${HEIGHT}L` : "L"}${x} ${y}`;
      if (start < 0) start = place;
    } else if (start >= 0) {
      if (place - start === 1) line += "h0.5"; // one point alone: a dot
      wash += `L${((place - 1) * step).toFixed(1)} ${HEIGHT}Z`;
      start = -1;
    }
  }
  return [line, wash];
}
