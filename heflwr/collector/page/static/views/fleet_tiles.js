// The fleet in five numbers: who is there, and what they use together.

import { h, write } from "../dom.js";
import { HEALTH_WORDS, healthMark, tile } from "../marks.js";
import { Spark } from "../spark.js";
import { count, quantity } from "../units.js";

const MEASURES = [
  { key: "cpu_usage", title: "CPU, mean", join: "mean", unit: "percent", total: "cpu_usage_mean" },
  { key: "memory_usage", title: "Memory, mean", join: "mean", unit: "percent", total: "memory_usage_mean" },
  { key: "network", title: "Network, together", join: "sum", unit: "bytes/s" },
  { key: "power", title: "Power, together", join: "sum", unit: "watts", total: "power_watts" },
];

export class Tiles {
  #counts = new Map();
  #measures;

  constructor(toggle) {
    const buttons = Object.keys(HEALTH_WORDS).map((health) => {
      const number = h("span", { class: "number" }, "–");
      const button = h(
        "button",
        { type: "button", "aria-pressed": "false", onclick: () => toggle(health) },
        healthMark(health),
        number,
        h("span", { class: "word" }, HEALTH_WORDS[health]),
      );
      this.#counts.set(health, { number, button });
      return button;
    });
    this.#measures = MEASURES.map((measure) => {
      const made = { ...measure, tile: tile(measure.title), spark: new Spark() };
      made.tile.detail.replaceWith(made.spark.element);
      return made;
    });
    this.element = h(
      "div",
      { class: "tiles" },
      h(
        "div",
        { class: "tile clients", role: "group", "aria-label": "Clients by health; press to show only these" },
        h("div", { class: "title" }, "Clients"),
        buttons,
      ),
      this.#measures.map((measure) => measure.tile.element),
    );
  }

  press(healths) {
    for (const [health, { button }] of this.#counts)
      button.setAttribute("aria-pressed", String(healths.includes(health)));
  }

  show(answer, clients) {
    for (const [health, { number }] of this.#counts) write(number, count(answer.counts[health] ?? 0));
    for (const measure of this.#measures) {
      const line = joined(clients, measure.key, measure.join);
      const now = answer.totals?.[measure.total] ?? (measure.key === "network" ? rate(clients) : null);
      const isThere = now !== null || line.some((value) => value !== null);
      measure.tile.element.hidden = measure.key === "power" && !isThere; // most machines tell none
      measure.tile.set(quantity(now ?? line.findLast((value) => value !== null), measure.unit));
      const top = line.reduce((high, value) => Math.max(high, value ?? 0), 0);
      measure.spark.draw(line, top * 1.1);
    }
  }
}

function rate(clients) {
  const live = clients.filter((client) => client.health === "live" && client.network !== null);
  return live.length ? live.reduce((sum, client) => sum + client.network, 0) : null;
}

/** The clients' sparks as one: their mean or sum at each point, over those that have a number there. */
function joined(clients, key, how) {
  const length = clients.reduce((longest, client) => Math.max(longest, client.spark[key]?.length ?? 0), 0);
  const sums = new Float64Array(length);
  const numbers = new Uint32Array(length);
  for (const client of clients) {
    client.spark[key]?.forEach((value, place) => {
      if (value === null) return;
      sums[place] += value;
      numbers[place] += 1;
    });
  }
  return Array.from(sums, (sum, place) => (numbers[place] === 0 ? null : how === "mean" ? sum / numbers[place] : sum));
}
