// One client's row: what its columns are, and how it is drawn.

import { h, named, write } from "../dom.js";
import { healthMark, setHealth } from "../marks.js";
import { current, link } from "../route.js";
import { Spark } from "../spark.js";
import { ago, moment, quantity } from "../units.js";

const percent = (value) => quantity(value, "percent");

/** Columns: how they are sorted (`down`: the largest first), the spark they have, how a number is written. */
export const COLUMNS = [
  { key: "client", title: "Client", class: "client", down: false, value: (client) => client.key },
  {
    key: "cpu",
    title: "CPU",
    class: "measure",
    down: true,
    value: (client) => client.cpu,
    spark: "cpu_usage",
    written: percent,
  },
  {
    key: "memory",
    title: "Memory",
    class: "measure",
    down: true,
    value: (client) => client.memory,
    spark: "memory_usage",
    written: percent,
  },
  {
    key: "network",
    title: "Network",
    class: "measure wide",
    down: true,
    value: (client) => client.network,
    spark: "network",
    written: (value) => quantity(value, "bytes/s"),
  },
  {
    key: "power",
    title: "Power",
    class: "measure wide",
    down: true,
    value: (client) => client.power,
    spark: "power",
    written: (value) => quantity(value, "watts"),
  },
  { key: "seen", title: "Seen", class: "seen", down: true, value: (client) => client.seen },
];

const MEASURES = COLUMNS.filter((column) => column.spark);

/** A client of the fleet's answer, with what the table sorts and filters by. */
export function prepared(client, step) {
  const { latest = {}, spark = {} } = client;
  const seconds = client.interval > 0 ? client.interval : step;
  const bytes = [latest.network_bytes_sent, latest.network_bytes_recv].filter((value) => typeof value === "number");
  const milliwatts = latest.power_vdd_in ?? latest.gpu_power;
  return {
    ...client,
    spark,
    seen: client.received ?? client.last, // by the collector's clock; a client's own may be off
    key: client.identifier,
    haystack: `${client.identifier} ${client.host ?? ""}`.toLocaleLowerCase(),
    cpu: latest.cpu_usage ?? null,
    memory: latest.memory_usage ?? null,
    network: bytes.length ? bytes.reduce((sum, value) => sum + value, 0) / seconds : newest(spark.network),
    power: typeof milliwatts === "number" ? milliwatts / 1000 : newest(spark.power),
  };
}

function newest(values) {
  return values?.findLast((value) => value !== null) ?? null;
}

/** The largest number of each spark over all clients: one scale a column, so that rows can be compared. */
export function tops(clients) {
  const found = {};
  for (const { spark } of MEASURES) {
    let top = 0;
    for (const client of clients) for (const value of client.spark[spark] ?? []) if (value > top) top = value;
    found[spark] = top;
  }
  return found;
}

export class ClientRow {
  #seen = 0;
  #link;
  #host = h("span", { class: "host" });
  #health = healthMark();
  #word = h("span", { class: "hidden-visually" });
  #age = h("time");
  #measures;

  constructor(item, picked, pick) {
    const box = h("input", {
      type: "checkbox",
      "aria-label": `Pick ${item.key} for comparison`,
      onchange: () => pick(item.key, box.checked),
    });
    box.checked = picked.has(item.key);
    this.#link = h("a", {}, named(item.key));
    this.#link.title = item.key;
    this.#measures = MEASURES.map(({ class: name }) => {
      const [spark, number] = [new Spark(), h("span", { class: "number" })];
      return { spark, number, cell: h("td", { class: name }, h("div", {}, spark.element, number)) };
    });
    this.element = h(
      "tr",
      {},
      h("td", { class: "pick" }, h("label", {}, box)),
      h(
        "th",
        { scope: "row", class: "client" },
        h("div", {}, this.#health, h("div", { class: "who" }, this.#link, this.#host), this.#word),
      ),
      this.#measures.map(({ cell }) => cell),
      h("td", { class: "seen" }, this.#age),
    );
  }

  update(item) {
    this.#seen = item.seen;
    this.#link.href = link("client", item.key, { range: current().parameters.get("range") });
    write(this.#host, item.host ?? "");
    setHealth(this.#health, item.health);
    write(this.#word, item.health);
    this.element.dataset.health = item.health;
    MEASURES.forEach(({ spark, value, written }, place) => {
      this.#measures[place].spark.draw(item.spark[spark], item.scales[spark]);
      const number = value(item);
      write(this.#measures[place].number, written(number));
      this.#measures[place].number.toggleAttribute("data-none", number === null);
    });
    this.#age.dateTime = new Date(item.seen * 1000).toISOString();
    this.#age.title = moment(item.seen);
    this.age(item.now);
  }

  age(now) {
    write(this.#age, ago(now - this.#seen));
  }
}
