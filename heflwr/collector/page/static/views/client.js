// One client: its charts with the windows behind them, its numbers, its runs.

import { ask, exportAddress } from "../api.js";
import { hear, now } from "../clock.js";
import { csv, fileName } from "../csv.js";
import { Chart } from "../chart.js";
import { download, h, named, write } from "../dom.js";
import { healthMark, setHealth } from "../marks.js";
import { charts, drawnUnit, label } from "../metrics.js";
import { between } from "../range.js";
import { change, current, link, packItem } from "../route.js";
import { line } from "../series.js";
import { notice } from "../states.js";
import { ago, iso, moment, several } from "../units.js";
import { runsTable, summaryTable, windowsTable } from "./client_tables.js";

const POINTS = 300;

export class ClientView {
  #app;
  #name = current().name;
  #charts = new Map();
  #grid = h("div", { class: "charts" });
  #health = healthMark();
  #facts = h("p", { class: "facts" });
  #seen = h("time");
  #select = h("select", { "aria-label": "Run", onchange: () => change({ run: this.#select.value }, { step: true }) });
  #compare = h("a", { class: "button" }, "Compare with …");
  #raw = h("a", { class: "button", download: "" }, "Raw samples");
  #tools;
  #tables = h("div", { class: "tables" });
  #seenAt = 0;
  #drawn = [];
  #before = null; // the range that a zoom left

  constructor(app) {
    this.#app = app;
    this.#tools = h(
      "div",
      { class: "toolbar" },
      this.#select,
      this.#compare,
      h("button", { type: "button", title: "What is shown, as a file", onclick: () => this.#save() }, "CSV"),
      this.#raw,
    );
    this.element = h(
      "section",
      { class: "view" },
      h(
        "div",
        { class: "heading" },
        h("div", {}, h("h1", {}, this.#health, named(this.#name)), this.#facts),
        this.#tools,
      ),
      this.#grid,
      this.#tables,
    );
  }

  title() {
    return this.#name;
  }

  leave() {
    for (const { chart } of this.#charts.values()) chart.leave();
  }

  appeared() {
    this.#draw();
  }

  tick() {
    write(this.#seen, ago(now() - this.#seenAt));
  }

  async update(signal) {
    const identifier = this.#name;
    const [{ runs }, fleet] = await Promise.all([
      ask("runs", { identifier }, signal),
      ask("fleet", { identifier, points: 1 }, signal),
    ]);
    hear(fleet.now);
    const run = chosen(runs, current().parameters.get("run"));
    if (!run) return this.#unknown();
    const range = this.#app.range();
    const since = range.since ?? run.first;
    const until = range.until ?? (range.since === null ? run.last : fleet.now);
    const which = { identifier, run: run.run };
    const { summaries } = await ask("summaries", which, signal);
    const groups = charts(summaries.map(({ metric }) => metric));
    const metric = groups.flatMap((group) => group.metrics);
    const [answer, { windows }] = await Promise.all([
      metric.length
        ? ask("series", { ...which, metric, since, until: until + 0.001, points: POINTS }, signal)
        : { start: since, step: 1, series: [] },
      ask("windows", { ...which, since, until: until + 0.001 }, signal),
    ]);
    this.#about(
      run,
      runs,
      fleet.clients.find((client) => client.identifier === identifier),
    );
    this.#drawn = { run, answer, groups, windows, since, until };
    this.#raw.href = exportAddress({ format: "csv", ...which, since, until });
    // Who has a link or a button here in focus keeps it: the numbers wait.
    if (!this.#tables.contains(document.activeElement))
      this.#tables.replaceChildren(...this.#makeTables(run, runs, summaries, windows));
    if (this.element.isConnected) this.#draw();
    return undefined;
  }

  #about(run, runs, client) {
    this.#tools.hidden = false;
    this.#seenAt = run.received ?? run.last;
    setHealth(this.#health, client?.health ?? "lost");
    const { host, versions = {}, limits = {} } = run.about ?? {};
    const parts = [
      host,
      versions.heflwr && `heflwr ${versions.heflwr}`,
      versions.python && `Python ${versions.python}`,
      limits.cpu_cores && several(limits.cpu_cores, "core"),
      versions.platform,
    ].filter(Boolean);
    this.#facts.replaceChildren(
      h("span", {}, client?.health ?? "lost", ", last seen ", this.#seen),
      ...parts.map((text) => h("bdi", {}, text)),
    );
    this.tick();
    const options = runs.map((one) => `${one.run}`).join();
    if (this.#select.dataset.runs !== options) {
      this.#select.dataset.runs = options;
      this.#select.replaceChildren(
        ...runs.map((one, place) =>
          h("option", { value: one.run }, `${place ? "Run" : "Newest run"}, ${moment(one.first)}`),
        ),
      );
    }
    this.#select.value = run.run;
    this.#select.hidden = runs.length < 2;
    this.#compare.href = link("compare", "", {
      item: packItem(this.#name, run === runs[0] ? "" : run.run),
      range: current().parameters.get("range"),
    });
  }

  #makeTables(run, runs, summaries, windows) {
    const zoom = (since, until) => change({ range: between(since, until) }, { step: true });
    return [
      summaryTable(summaries, run.interval),
      windows.length ? windowsTable(windows, zoom, now()) : null,
      runs.length > 1 ? runsTable(runs, run, this.#name) : null,
    ].filter(Boolean);
  }

  #draw() {
    const { run, answer, groups, windows, since, until } = this.#drawn;
    if (!run) return;
    const interval = run.interval;
    const lines = new Map(
      answer.series.filter((one) => one.mean.some((value) => value !== null)).map((one) => [one.metric, one]),
    );
    const wanted = groups
      .map((group) => ({ ...group, metrics: group.metrics.filter((metric) => lines.has(metric)) }))
      .filter(({ metrics }) => metrics.length);
    if (!wanted.length) return this.#silent(run);
    const keys = wanted.map(({ metrics }) => metrics.join());
    for (const [key, { chart }] of this.#charts) {
      if (keys.includes(key)) continue;
      chart.leave();
      this.#charts.delete(key);
    }
    for (const [place, group] of wanted.entries()) {
      if (this.#charts.has(keys[place])) continue;
      const unit = drawnUnit(group.metrics[0], lines.get(group.metrics[0]).unit);
      const chart = new Chart({
        title: group.title,
        unit,
        cursors: "client",
        zoom: (from, to) => this.#zoom(from, to),
        lines: group.metrics.map((metric, colour) => ({ label: label(metric), colour })),
      });
      this.#charts.set(keys[place], { chart, group });
    }
    const figures = keys.map((key) => this.#charts.get(key).chart.element);
    if (
      figures.length !== this.#grid.children.length ||
      figures.some((figure, place) => this.#grid.children[place] !== figure)
    )
      this.#grid.replaceChildren(...figures);
    keys.forEach((key, place) => {
      const drawn = wanted[place].metrics.map((metric) => line(answer, lines.get(metric), interval));
      this.#charts.get(key).chart.draw(drawn, { windows, from: since, to: until });
    });
    return undefined;
  }

  #zoom(since, until) {
    const present = current().parameters.get("range");
    if (since === null) {
      change({ range: this.#before }, { step: true });
    } else {
      if (this.#app.range().follows) this.#before = present;
      change({ range: between(since, until) }, { step: true });
    }
  }

  #silent(run) {
    this.leave();
    this.#charts.clear();
    const whole = h(
      "button",
      { type: "button", class: "primary", onclick: () => change({ range: "all" }, { step: true }) },
      "Show the whole run",
    );
    const text = run.samples
      ? `This run has ${several(run.samples, "sample")}, from ${moment(run.first)} to ${moment(run.last)}.`
      : "This run has sent no sample yet.";
    this.#grid.replaceChildren(notice("No samples in this time", text, ...(run.samples ? [whole] : [])));
  }

  #unknown() {
    this.leave();
    this.#charts.clear();
    this.#tables.replaceChildren();
    this.#facts.replaceChildren();
    this.#tools.hidden = true;
    setHealth(this.#health, "lost");
    this.#grid.replaceChildren(
      notice(
        "No client has this name",
        "It has not sent anything, or its samples were removed.",
        h("a", { class: "button primary", href: "#/" }, "To the fleet"),
      ),
    );
  }

  #save() {
    const { answer, run } = this.#drawn;
    if (!answer) return;
    const header = [
      "time",
      ...answer.series.flatMap(({ metric }) => [`${metric}_mean`, `${metric}_min`, `${metric}_max`]),
    ];
    const length = answer.series[0]?.mean.length ?? 0;
    const rows = Array.from({ length }, (_, place) => [
      iso(answer.start + place * answer.step),
      ...answer.series.flatMap(({ mean, min, max }) => [mean[place], min[place], max[place]]),
    ]);
    download(
      fileName(this.#name, run.run.slice(0, 8)),
      "text/csv",
      csv([header, ...rows.filter((row) => row.slice(1).some((value) => value !== null))]),
    );
  }
}

function chosen(runs, wanted) {
  return runs.find(({ run }) => run === wanted) ?? runs[0];
}
