// A chart over time: means as lines, the range from the lowest to the highest as a band, windows shaded behind.
// Drag to zoom, double click to go back; with the keyboard, arrows read the points.

import { span, xAxis, yAxis } from "./axes.js";
import { colour } from "./colours.js";
import { lonely, near, table } from "./columns.js";
import { announce, h, write } from "./dom.js";
import { clock, day, duration, moment, quantity } from "./units.js";

const { uPlot } = globalThis;
const FONT = "12px system-ui, sans-serif";
const HEIGHT = 200;
const BANDS_MAX = 4; // more of them hide each other
const DASHED_FROM = 4;

export class Chart {
  #options;
  #plot = null;
  #host = h("div", { class: "plot", tabindex: "0", role: "img" });
  #when = h("span", { class: "when" });
  #values = [];
  #lines = [];
  #windows = [];
  #size;
  #theme = () => this.#plot?.redraw(false);

  /**
   * `lines`: [{label, colour: 0..7}]; `elapsed`: x is seconds since a beginning; `zoom(since, until)`: what a drag asks
   * for, null goes back; `cursors`: charts with the same word share the cursor; `fromZero`: false lets the axis float.
   */
  constructor(options) {
    this.#options = { fromZero: true, height: HEIGHT, ...options };
    const { title, lines } = this.#options;
    const legend = lines.map(({ label, colour: number }, place) => {
      const value = h("span", { class: "value" });
      this.#values.push(value);
      return h(
        "li",
        {},
        h("span", {
          class: `swatch series-${(number % 8) + 1}`,
          "data-dashed": place >= DASHED_FROM,
          "aria-hidden": "true",
        }),
        h("bdi", { class: "name" }, label),
        value,
      );
    });
    this.element = h(
      "figure",
      { class: "chart" },
      h("figcaption", {}, h("h2", {}, title), this.#when, h("ul", { class: "legend" }, legend)),
      this.#host,
    );
    this.#host.addEventListener("keydown", (event) => this.#read(event));
    this.#host.addEventListener("blur", () => this.#plot?.setCursor({ left: -10, top: -10 }));
    this.#size = new ResizeObserver(() =>
      this.#plot?.setSize({ width: this.#host.clientWidth, height: this.#options.height }),
    );
    this.#size.observe(this.#host);
    addEventListener("themechange", this.#theme);
  }

  leave() {
    removeEventListener("themechange", this.#theme);
    this.#size.disconnect();
    this.#plot?.destroy();
    this.#plot = null;
  }

  /**
   * Draw `lines`, one for each of the constructor's: {xs, mean, low, high}; low and high may be missing. A null is a
   * gap, undefined none. `windows`: [{name, start, end}]; `from`, `to`: what the x axis covers, null for the data's.
   */
  draw(lines, { windows = [], from = null, to = null } = {}) {
    this.#windows = windows;
    this.#lines = lines;
    this.#options.span = [from, to];
    const data = table(lines);
    if (this.#plot === null && this.#host.clientWidth > 0) this.#build(data);
    else this.#plot?.setData(data);
    this.#rest();
    this.#host.setAttribute("aria-label", this.#described());
  }

  #build(data) {
    const { lines, unit, elapsed, zoom, cursors, fromZero, height } = this.#options;
    const style = {
      font: FONT,
      stroke: () => colour("--ink-soft"),
      grid: { stroke: () => colour("--grid"), width: 1 },
      ticks: { show: false, size: 4 },
    };
    const stroke = (number) => () => colour(`--series-${(number % 8) + 1}`);
    const series = lines.flatMap(({ colour: number }, place) => [
      {
        stroke: stroke(number),
        width: 1.75,
        points: { show: lonely },
        dash: place >= DASHED_FROM ? [7, 4] : undefined,
      },
      { stroke: "transparent", width: 0, points: { show: false } },
      { stroke: "transparent", width: 0, points: { show: false } },
    ]);
    const bands =
      lines.length > BANDS_MAX
        ? []
        : lines.map(({ colour: number }, place) => ({
            series: [3 * place + 3, 3 * place + 2],
            fill: () => colour(`--series-${(number % 8) + 1}`, 0.16),
          }));
    this.#plot = new uPlot(
      {
        width: this.#host.clientWidth,
        height,
        series: [{}, ...series],
        bands,
        legend: { show: false },
        padding: [() => (this.#windows.length ? 20 : 8), 12, 0, 0],
        scales: {
          x: {
            time: !elapsed,
            range: (u, low, high) => [this.#options.span[0] ?? low ?? 0, this.#options.span[1] ?? high ?? 1],
          },
          y: { range: span(fromZero) },
        },
        axes: [xAxis(elapsed, style), yAxis(unit, style)],
        cursor: {
          y: false,
          drag: { x: Boolean(zoom), y: false, setScale: false },
          points: { show: (u, at) => (at % 3 === 1 ? point(u, at) : null) },
          sync: cursors ? { key: cursors, setSeries: false } : undefined,
          bind: { dblclick: () => () => zoom?.(null) },
        },
        hooks: {
          drawClear: [(u) => this.#shade(u)],
          setCursor: [(u) => this.#show(u.cursor.idx)],
          setSelect: [(u) => this.#selected(u, zoom)],
        },
      },
      data,
      this.#host,
    );
  }

  #selected(u, zoom) {
    const { left, width } = u.select;
    if (width < 4) return;
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    zoom?.(u.posToVal(left, "x"), u.posToVal(left + width, "x"));
  }

  #shade(u) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textAlign = "start";
    ctx.textBaseline = "bottom";
    const { min, max } = u.scales.x;
    this.#windows.forEach(({ name, start, end }, place) => {
      if (start > max || (end ?? max) < min) return;
      const left = u.valToPos(Math.max(start, min), "x", true);
      const width = u.valToPos(Math.min(end ?? max, max), "x", true) - left;
      ctx.fillStyle = colour(place % 2 ? "--shade-odd" : "--shade");
      ctx.fillRect(left, bbox.top, width, bbox.height);
      if (width < ctx.measureText(name).width) return;
      ctx.fillStyle = colour("--ink-soft");
      ctx.fillText(name, left, bbox.top - 3 * devicePixelRatio);
    });
    ctx.restore();
  }

  /** The legend at the cursor; without one, the newest of each line. */
  #show(at) {
    if (at === null || at === undefined) return this.#rest();
    const { data } = this.#plot;
    write(this.#when, this.#time(data[0][at]));
    this.#values.forEach((node, place) => {
      const nearest = near(data[3 * place + 1], at);
      const [mean, low, high] = [1, 2, 3].map((column) => data[3 * place + column][nearest]);
      write(node, this.#words(mean, low, high));
    });
    return undefined;
  }

  #rest() {
    write(this.#when, "");
    this.#values.forEach((node, place) =>
      write(
        node,
        quantity(
          this.#lines[place]?.mean.findLast((value) => value !== null && value !== undefined),
          this.#options.unit,
        ),
      ),
    );
  }

  #words(mean, low, high) {
    const { unit } = this.#options;
    const text = quantity(mean, unit);
    const isWide = low !== null && low !== undefined && high - low > Math.abs(mean) * 0.01;
    return isWide ? `${text} (${quantity(low, unit)} to ${quantity(high, unit)})` : text;
  }

  #time(x) {
    if (this.#options.elapsed) return duration(x);
    return day(x) === day(Date.now() / 1000) ? clock(x) : moment(x);
  }

  #read(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || !this.#plot?.data[0].length) return;
    event.preventDefault();
    const xs = this.#plot.data[0];
    const present = this.#plot.cursor.idx ?? (steps[event.key] < 0 ? xs.length : -1);
    const wanted = Math.max(0, Math.min(xs.length - 1, present + steps[event.key]));
    this.#plot.setCursor({ left: this.#plot.valToPos(xs[wanted], "x"), top: 10 });
    this.#show(wanted);
    const values = this.#options.lines.map(({ label }, place) => `${label} ${this.#values[place].textContent}`);
    announce(`${this.#time(xs[wanted])}: ${values.join(", ")}`);
  }

  #described() {
    const { title, unit, lines } = this.#options;
    const parts = lines.map(({ label }, place) => {
      const numbers = (this.#lines[place]?.mean ?? []).filter((value) => value !== null && value !== undefined);
      if (!numbers.length) return `${label}: nothing`;
      const [low, high] = numbers.reduce(
        ([least, most], value) => [Math.min(least, value), Math.max(most, value)],
        [Infinity, -Infinity],
      );
      return `${label}: ${quantity(low, unit)} to ${quantity(high, unit)}, last ${quantity(numbers.at(-1), unit)}`;
    });
    return `Chart of ${title}. ${parts.join(". ")}. Arrow keys read the points.`;
  }
}

function point(u, at) {
  const dot = h("div", { class: "cursor-dot" });
  dot.style.background = colour(`--series-${(((at - 1) / 3) % 8) + 1}`);
  return dot;
}
