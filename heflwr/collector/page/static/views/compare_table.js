// Whole runs beside each other.

import { named } from "../dom.js";
import { isDelta, longLabel, ordered } from "../metrics.js";
import { duration, quantity } from "../units.js";
import { simpleTable, titled } from "./client_tables.js";

/** Means of what was observed, totals of what was counted. */
export function comparison(items) {
  const metrics = [...new Set(ordered(items.flatMap(({ summaries }) => summaries)).map(({ metric }) => metric))];
  const rows = metrics.map((metric) => [
    longLabel(metric),
    ...items.map(({ summaries }) => {
      const found = summaries.find((one) => one.metric === metric);
      return found ? quantity(isDelta(metric) ? found.total : found.mean, found.unit) : "–";
    }),
  ]);
  rows.push(["Lasted", ...items.map(({ run }) => duration(run.last - run.first))]);
  return titled(
    "Whole runs: means and totals",
    simpleTable(["Metric", ...items.map(({ label }) => named(label))], rows),
  );
}
