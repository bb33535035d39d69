// Functions of the fleet's mean that are known within a bound: the value in its band, what backs it, what it cost.

import { ask } from "../api.js";
import { csv, fileName } from "../csv.js";
import { Chart } from "../chart.js";
import { download, h, named, write } from "../dom.js";
import { between } from "../range.js";
import { change, current, link } from "../route.js";
import { notice } from "../states.js";
import { count, iso, moment, quantity } from "../units.js";
import { simpleTable, titled } from "./client_tables.js";

const POINTS_MAX = 10_000; // what one answer holds; the newest

const GUARANTEES = {
  __proto__: null, // a coordinator may say "constructor"
  exact: "Exact: while every node keeps silent, the value is certainly within the band.",
  guaranteed: "Guaranteed: by proof, the value is within the band under the conditions stated.",
  heuristic: "Heuristic: a numerical search backs the band, and it may have missed the worst point.",
};

export class FunctionsView {
  #app;
  #list = h("div", { class: "tables" });
  #detail = h("section", { class: "function" });
  #shown = null;
  #points = [];
  #isCut = false;
  #value = null;
  #cost = null;

  constructor(app) {
    this.#app = app;
    this.element = h(
      "section",
      { class: "view" },
      h(
        "div",
        { class: "heading" },
        h("h1", {}, "Monitored functions"),
        h("div", { class: "toolbar" }, h("button", { type: "button", onclick: () => this.#save() }, "CSV")),
      ),
      this.#list,
      this.#detail,
    );
  }

  title() {
    return "Functions";
  }

  leave() {
    this.#value?.leave();
    this.#cost?.leave();
    this.#value = this.#cost = null;
  }

  appeared() {
    this.#draw();
  }

  async update(signal) {
    const { functions } = await ask("functions", {}, signal);
    const route = current();
    const [identifier, run] = [route.parameters.get("of"), route.parameters.get("run")];
    const found = functions.find(
      (one) =>
        one.name === route.name && (identifier ?? one.identifier) === one.identifier && (run ?? one.run) === one.run,
    );
    const one = found ?? (route.name ? null : functions[0]);
    const range = this.#app.range();
    const answer = one
      ? await ask(
          "functions/points",
          {
            identifier: one.identifier,
            run: one.run,
            name: one.name,
            since: range.since,
            until: range.until,
            limit: POINTS_MAX,
          },
          signal,
        )
      : { points: [] };
    this.#points = answer.points;
    this.#isCut = Boolean(answer.truncated);
    if (!this.#list.contains(document.activeElement))
      this.#list.replaceChildren(functions.length ? listed(functions, one) : nothing());
    this.#describe(one, Boolean(route.name) && functions.length > 0 && !one);
    if (this.element.isConnected) this.#draw();
  }

  #describe(one, isUnknown) {
    const key = one ? JSON.stringify([one.identifier, one.run, one.name, one.guarantee, one.reason]) : "";
    if (this.#shown?.key === key) return;
    this.leave();
    this.#shown = one ? { key, one } : null;
    if (!one)
      return this.#detail.replaceChildren(
        ...(isUnknown
          ? [notice("No function has this name", "It is not monitored any more, or its points were removed.")]
          : []),
      );
    const hasTruth = this.#points.some(({ truth }) => typeof truth === "number");
    const zoom = (since, until) => change({ range: since === null ? null : between(since, until) }, { step: true });
    const lines = [
      { label: "Known value, in its band", colour: 0 },
      ...(hasTruth ? [{ label: "True value", colour: 1 }] : []),
    ];
    this.#value = new Chart({
      title: "Value",
      unit: one.unit,
      fromZero: false,
      height: 240,
      cursors: "function",
      zoom,
      lines,
    });
    this.#value.hasTruth = hasTruth;
    this.#cost = new Chart({
      title: "Messages so far",
      unit: "count",
      height: 240,
      cursors: "function",
      zoom,
      lines: [
        { label: "Sent", colour: 2 },
        { label: "Had every node told every round", colour: 5 },
      ],
    });
    this.#detail.replaceChildren(
      h("h2", {}, named(one.name)),
      h(
        "p",
        { class: "guarantee" },
        h("strong", {}, GUARANTEES[one.guarantee] ?? one.guarantee),
        ...(one.reason ? [" Why: ", h("bdi", {}, one.reason), "."] : []),
      ),
      h("div", { class: "charts" }, this.#value.element, this.#cost.element),
      h("p", { class: "hint none", role: "status" }),
    );
    return undefined;
  }

  #draw() {
    if (!this.#value) return;
    const points = this.#points;
    const xs = points.map(({ time }) => time);
    const known = points.map(({ value }) => value);
    const edge = (sign) =>
      points.map(({ value, bound }) =>
        typeof value === "number" && typeof bound === "number" ? value + sign * bound : null,
      );
    const lines = [{ xs, mean: known, low: edge(-1), high: edge(1) }];
    if (this.#value.hasTruth) lines.push({ xs, mean: points.map(({ truth }) => truth ?? null) });
    const { since, until } = this.#app.range();
    this.#value.draw(lines, { from: until === null ? null : since, to: until });
    this.#cost.draw(
      [
        { xs, mean: points.map(({ messages }) => messages) },
        { xs, mean: points.map(({ centralization }) => centralization) },
      ],
      { from: until === null ? null : since, to: until },
    );
    write(
      this.#detail.querySelector(".none"),
      !points.length
        ? "No points in this time."
        : this.#isCut
          ? `The newest ${count(points.length)} points; choose a shorter time for earlier ones.`
          : "",
    );
  }

  #save() {
    const { one } = this.#shown ?? {};
    if (!one) return;
    const columns = ["round", "value", "bound", "truth", "live", "stale", "lost", "messages", "centralization"];
    download(
      fileName("function", one.name),
      "text/csv",
      csv([
        ["time", ...columns],
        ...this.#points.map((point) => [iso(point.time), ...columns.map((column) => point[column])]),
      ]),
    );
  }
}

function listed(functions, present) {
  const header = ["Function", ["Of"], "Value", ["Guarantee"], "Nodes", "Messages", "As of"];
  const rows = functions.map((one) => {
    const { identifier, run, name, unit, guarantee, latest = {} } = one;
    const address = link("functions", name, { of: identifier, run, range: current().parameters.get("range") });
    return [
      h("a", { href: address, "aria-current": one === present ? "true" : null }, named(name)),
      named(identifier),
      typeof latest.value !== "number"
        ? "unknown"
        : typeof latest.bound === "number"
          ? `${quantity(latest.value, unit)} ± ${quantity(latest.bound, unit)}`
          : quantity(latest.value, unit),
      guarantee,
      nodes(latest),
      saved(latest),
      typeof latest.time === "number" ? moment(latest.time) : "–",
    ];
  });
  return titled("Functions", simpleTable(header, rows), "bare");
}

function nodes({ live, stale, lost }) {
  return (
    [
      [live, "live"],
      [stale, "stale"],
      [lost, "lost"],
    ]
      .filter(([number]) => number > 0)
      .map(([number, word]) => `${count(number)} ${word}`)
      .join(", ") || "none"
  );
}

function saved({ messages, centralization }) {
  if (typeof messages !== "number") return "–";
  if (!(centralization > 0)) return count(messages);
  return `${count(messages)}, ${quantity((100 * messages) / centralization, "percent")} of centralization`;
}

function nothing() {
  return notice(
    "No function is monitored",
    "A coordinator of heflwr.automon that reports here shows what it knows: a value, its bound, the messages it took.",
  );
}
