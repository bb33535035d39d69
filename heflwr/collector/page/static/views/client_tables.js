// A client's numbers, windows and runs, as tables.

import { h, named } from "../dom.js";
import { drawnUnit, isDelta, longLabel, ordered } from "../metrics.js";
import { current, link } from "../route.js";
import { count, duration, moment, quantity } from "../units.js";

const WINDOWS_SHOWN = 12;

/** A table under its title; `kind` "broad" takes the width that others leave, "bare" needs no title. */
export function titled(title, table, kind = "", ...more) {
  return h(
    "section",
    { class: `titled ${kind}` },
    h("h2", {}, title),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, table),
    more,
  );
}

/** `header`: one a column, in a list of its own where the column holds words; `rows`: each begins with its name. */
export function simpleTable(header, rows) {
  const kinds = header.map((title) => (Array.isArray(title) ? "words" : null));
  return h(
    "table",
    { class: "plain" },
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        header.map((title, place) => h("th", { scope: "col", class: kinds[place] }, title)),
      ),
    ),
    h(
      "tbody",
      {},
      rows.map(([name, ...cells]) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, name),
          cells.map((cell, place) => h("td", { class: kinds[place + 1] }, cell)),
        ),
      ),
    ),
  );
}

/** The run in numbers. What was counted has a total, and rates besides: `interval` is the time between samples. */
export function summaryTable(summaries, interval) {
  const rows = ordered(summaries).map(({ metric, unit, mean, min, max, last, total }) => {
    const [drawn, scale] = isDelta(metric) ? [drawnUnit(metric, unit), 1 / (interval || 1)] : [unit, 1];
    const numbers =
      metric === "cpu_seconds"
        ? ["", "", "", ""]
        : [mean, min, max, last].map((value) => quantity(value === null ? null : value * scale, drawn));
    return [longLabel(metric), ...numbers, isDelta(metric) ? quantity(total, unit) : ""];
  });
  return titled(
    "The run in numbers",
    simpleTable(["Metric", "Mean", "Lowest", "Highest", "Last", "Total"], rows),
    "broad",
  );
}

export function windowsTable(windows, zoom, now) {
  const newest = windows.toSorted((one, other) => other.start - one.start);
  const row = ({ name, start, end }) => [
    h(
      "button",
      { type: "button", class: "link", title: "Zoom to this window", onclick: () => zoom(start, end ?? now) },
      named(name),
    ),
    moment(start),
    end === null ? "open" : duration(end - start),
  ];
  const table = simpleTable(["Window", "Began", "Took"], newest.slice(0, WINDOWS_SHOWN).map(row));
  const rest = newest.length - WINDOWS_SHOWN;
  return titled("Windows", table, "", rest > 0 ? h("p", { class: "hint" }, `and ${count(rest)} earlier`) : null);
}

export function runsTable(runs, present, name) {
  const rows = runs.map((run) => [
    h(
      "a",
      {
        href: link("client", name, { run: run.run, range: current().parameters.get("range") }),
        "aria-current": run === present ? "true" : null,
      },
      moment(run.first),
    ),
    h("code", {}, run.run.slice(0, 8)),
    duration(run.last - run.first),
    count(run.samples),
  ]);
  return titled("Runs", simpleTable(["Began", "Run", "Lasted", "Samples"], rows));
}
