// Two clients or more, or runs of them, on one axis: at the same time, or each from its own beginning.

import { ask } from "../api.js";
import { now } from "../clock.js";
import { csv, fileName } from "../csv.js";
import { Chart } from "../chart.js";
import { download, h, named } from "../dom.js";
import { ITEMS_MAX } from "../marks.js";
import { charts, drawnUnit, longLabel } from "../metrics.js";
import { between } from "../range.js";
import { change, current, link, packItem, unpackItem } from "../route.js";
import { line } from "../series.js";
import { notice } from "../states.js";
import { moment } from "../units.js";
import { Picker } from "./compare_picker.js";
import { comparison } from "./compare_table.js";

const POINTS = 300;

export class CompareView {
  #app;
  #charts = new Map();
  #grid = h("div", { class: "charts" });
  #table = h("div", { class: "tables" });
  #chips = h("ul", { class: "chips", "aria-label": "Compared" });
  #axis = h(
    "select",
    { "aria-label": "Axis", onchange: () => change({ axis: this.#axis.value }, { step: true }) },
    h("option", { value: "clock" }, "At the same time"),
    h("option", { value: "elapsed" }, "From each beginning"),
  );
  #picker;
  #drawn = null;

  constructor(app) {
    this.#app = app;
    this.#picker = new Picker((item) =>
      change({ item: [...current().parameters.getAll("item"), item] }, { step: true }),
    );
    this.element = h(
      "section",
      { class: "view" },
      h(
        "div",
        { class: "heading" },
        h("h1", {}, "Compare"),
        h("div", { class: "toolbar" }, this.#axis, h("button", { type: "button", onclick: () => this.#save() }, "CSV")),
      ),
      h("div", { class: "toolbar" }, this.#chips, this.#picker.element),
      this.#grid,
      this.#table,
    );
  }

  title() {
    return "Compare";
  }

  leave() {
    for (const chart of this.#charts.values()) chart.leave();
    this.#charts.clear();
  }

  appeared() {
    this.#draw();
  }

  async update(signal) {
    const wanted = current().parameters.getAll("item").slice(0, ITEMS_MAX).map(unpackItem);
    await this.#picker.update(signal);
    const found = await Promise.all(wanted.map((item) => this.#find(item, signal)));
    const items = found.filter(({ run }) => run);
    const isElapsed =
      (current().parameters.get("axis") ?? (wanted.some(({ run }) => run) ? "elapsed" : "clock")) === "elapsed";
    const range = this.#app.range();
    const firsts = items.map(({ run }) => run.first);
    const lasts = items.map(({ run }) => run.last);
    const since = range.since ?? Math.min(...firsts);
    const until = range.until ?? (range.since === null ? Math.max(...lasts) : now());
    const longest = Math.max(...items.map(({ run }) => run.last - run.first));
    await Promise.all(
      items.map(async (item) => {
        const { summaries } = await ask("summaries", { identifier: item.identifier, run: item.run.run }, signal);
        item.summaries = summaries;
        const metric = charts(summaries.map((one) => one.metric)).flatMap((group) => group.metrics);
        const span = isElapsed
          ? { since: item.run.first, until: item.run.first + longest + 0.001 }
          : { since, until: until + 0.001 };
        item.answer = metric.length
          ? await ask(
              "series",
              { identifier: item.identifier, run: item.run.run, metric, ...span, points: POINTS },
              signal,
            )
          : { series: [] };
      }),
    );
    this.#drawn = { items, isElapsed, from: isElapsed ? 0 : since, to: isElapsed ? longest : until };
    this.#axis.value = isElapsed ? "elapsed" : "clock";
    this.#showChips(found);
    if (this.element.isConnected) this.#draw();
  }

  async #find(item, signal) {
    const { runs } = await ask("runs", { identifier: item.identifier }, signal);
    const run = item.run ? runs.find(({ run: name }) => name === item.run) : runs[0];
    return {
      identifier: item.identifier,
      wanted: item,
      run,
      runs,
      label: item.run && run ? `${item.identifier}, ${moment(run.first)}` : item.identifier,
    };
  }

  #showChips(found) {
    const key = JSON.stringify(found.map(({ wanted, label, run, runs }) => [wanted, label, Boolean(run), runs.length]));
    if (this.#chips.dataset.key === key) return;
    this.#chips.dataset.key = key;
    const all = () => current().parameters.getAll("item");
    let colour = 0;
    this.#chips.replaceChildren(
      ...found.map(({ identifier, label, run, runs, wanted }, place) => {
        const swap = (event) =>
          change({ item: all().with(place, packItem(identifier, event.target.value)) }, { step: true });
        const runOf =
          runs.length > 1
            ? h(
                "select",
                { "aria-label": `Run of ${identifier}`, onchange: swap },
                h("option", { value: "" }, "newest run"),
                runs.map((one) => h("option", { value: one.run }, moment(one.first))),
              )
            : null;
        if (runOf) runOf.value = wanted.run;
        colour += run ? 1 : 0;
        return h(
          "li",
          {},
          h("span", { class: run ? `swatch series-${colour}` : "swatch", "aria-hidden": "true" }),
          h("a", { href: link("client", identifier, { run: wanted.run }), title: identifier }, named(identifier)),
          run ? runOf : h("span", { class: "hint" }, "nothing known"),
          h(
            "button",
            {
              type: "button",
              class: "remove",
              "aria-label": `Remove ${label}`,
              onclick: () => change({ item: all().toSpliced(place, 1) }, { step: true }),
            },
            "×",
          ),
        );
      }),
    );
    this.#picker.limit(found.length >= ITEMS_MAX);
  }

  #draw() {
    const { items, isElapsed, from, to } = this.#drawn ?? { items: [] };
    if (!items.length) {
      this.leave();
      this.#table.replaceChildren();
      this.#grid.replaceChildren(
        notice("Nothing to compare yet", "Add clients above, or pick them in the fleet's table."),
      );
      return;
    }
    const metrics = charts(
      unique(
        items.flatMap(({ answer }) =>
          answer.series.filter((one) => one.mean.some((value) => value !== null)).map((one) => one.metric),
        ),
      ),
    ).flatMap((group) => group.metrics);
    if (!metrics.length) {
      this.leave();
      this.#grid.replaceChildren(
        notice(
          "No samples in this time",
          "None of them sent anything then.",
          h(
            "button",
            { type: "button", class: "primary", onclick: () => change({ range: "all" }, { step: true }) },
            "Show everything",
          ),
        ),
      );
    }
    const shape = JSON.stringify([isElapsed, items.map(({ label }) => label)]);
    if (this.#grid.dataset.shape !== shape) this.leave();
    this.#grid.dataset.shape = shape;
    for (const [metric, chart] of this.#charts) {
      if (metrics.includes(metric)) continue;
      chart.leave();
      this.#charts.delete(metric);
    }
    for (const metric of metrics) {
      if (this.#charts.has(metric)) continue;
      const unit = items.flatMap(({ answer }) => answer.series).find((one) => one.metric === metric).unit;
      const zoom = isElapsed
        ? null
        : (since, until) => change({ range: since === null ? null : between(since, until) }, { step: true });
      this.#charts.set(
        metric,
        new Chart({
          title: longLabel(metric),
          unit: drawnUnit(metric, unit),
          elapsed: isElapsed,
          cursors: "compare",
          zoom,
          lines: items.map(({ label }, colour) => ({ label, colour })),
        }),
      );
    }
    const figures = metrics.map((metric) => this.#charts.get(metric).element);
    if (
      figures.length &&
      (figures.length !== this.#grid.children.length ||
        figures.some((figure, place) => this.#grid.children[place] !== figure))
    )
      this.#grid.replaceChildren(...figures);
    for (const metric of metrics) {
      const lines = items.map(({ answer, run }) => {
        const series = answer.series.find((one) => one.metric === metric);
        return series ? line(answer, series, run.interval, isElapsed ? run.first : 0) : { xs: [], mean: [] };
      });
      this.#charts.get(metric).draw(lines, { from, to });
    }
    if (!this.#table.contains(document.activeElement)) this.#table.replaceChildren(comparison(items));
  }

  #save() {
    const { items = [] } = this.#drawn ?? {};
    const header = ["identifier", "run", "metric", "unit", "start_seconds", "count", "mean", "min", "max"];
    const rows = items.flatMap(({ identifier, run, answer }) =>
      answer.series.flatMap(({ metric, unit, count, mean, min, max }) =>
        mean
          .map((value, place) => [
            identifier,
            run.run,
            metric,
            unit,
            answer.start + place * answer.step,
            count[place],
            value,
            min[place],
            max[place],
          ])
          .filter((row) => row[6] !== null),
      ),
    );
    download(fileName("compare"), "text/csv", csv([header, ...rows]));
  }
}

function unique(values) {
  return [...new Set(values)];
}
