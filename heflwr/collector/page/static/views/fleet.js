// Every client at a glance: how many are there, what they use together, and a table to sort, filter and pick from.

import { ask } from "../api.js";
import { hear, now } from "../clock.js";
import { csv, fileName } from "../csv.js";
import { announce, download, h, write } from "../dom.js";
import { ITEMS_MAX } from "../marks.js";
import { change, current, link, packItem } from "../route.js";
import { Rows } from "../rows.js";
import { nobody, notice } from "../states.js";
import { iso, several } from "../units.js";
import { ClientRow, COLUMNS, prepared, tops } from "./fleet_row.js";
import { chosen, wanted } from "./fleet_order.js";
import { Tiles } from "./fleet_tiles.js";

const POINTS = 62; // an hour of minutes, and the two that it only touches

export class FleetView {
  /** Parameters that need no new answer. */
  static local = ["filter", "health", "sort", "order"];

  #app;
  #clients = [];
  #shown = [];
  #picked = new Set();
  #tiles;
  #rows;
  #heads;
  #found = h("p", { class: "found", role: "status" });
  #compare = h("a", { class: "button", role: "link" }, "Compare");
  #search;
  #toolbar;
  #scroller;
  #nothing = h("div");
  #wasCut = h("p", { class: "hint", hidden: true }, "The collector holds more clients than it tells at once.");

  constructor(app) {
    this.#app = app;
    this.#tiles = new Tiles((health) => this.#toggle(health));
    this.#search = h("input", {
      type: "search",
      placeholder: "Name or host",
      "aria-label": "Filter clients",
      spellcheck: "false",
      autocomplete: "off",
      oninput: () => change({ filter: this.#search.value }),
    });
    this.#heads = COLUMNS.map((column) => {
      const button = h(
        "button",
        { type: "button", onclick: () => this.#sort(column) },
        column.title,
        h("span", { class: "arrow", "aria-hidden": "true" }),
      );
      return h(
        "th",
        { scope: "col", class: column.class },
        button,
        column.spark ? h("span", { class: "scale", "aria-hidden": "true" }) : null,
      );
    });
    const body = h("tbody");
    this.#rows = new Rows(body, (item) => new ClientRow(item, this.#picked, (key, is) => this.#pick(key, is)));
    this.#scroller = h(
      "table",
      { class: "fleet", "aria-label": "Clients" },
      h(
        "thead",
        {},
        h(
          "tr",
          { "aria-rowindex": "1" },
          h("th", { scope: "col", class: "pick" }, h("span", { class: "hidden-visually" }, "Pick for comparison")),
          this.#heads,
        ),
      ),
      body,
    );
    this.#toolbar = h(
      "div",
      { class: "toolbar" },
      this.#search,
      this.#found,
      h("span", { class: "push" }),
      this.#compare,
      h("button", { type: "button", title: "What is shown, as a file", onclick: () => this.#save() }, "CSV"),
    );
    this.element = h(
      "section",
      { class: "view" },
      h("h1", { class: "hidden-visually" }, "Fleet"),
      this.#tiles.element,
      this.#toolbar,
      this.#wasCut,
      this.#scroller,
      this.#nothing,
    );
  }

  title() {
    return "Fleet";
  }

  leave() {
    this.#rows.leave();
  }

  appeared() {
    this.#show();
  }

  tick() {
    this.#rows.each((row) => row.age(now()));
  }

  async update(signal) {
    const { since, until } = this.#app.range();
    const answer = await ask("fleet", { since: since ?? 0, until, points: POINTS }, signal);
    hear(answer.now);
    this.#clients = answer.clients.map((client) => prepared(client, answer.step));
    this.#tiles.show(answer, this.#clients, this.#app.range());
    this.#wasCut.hidden = !answer.truncated;
    this.#show();
  }

  /** Filter and sort as the address says, and draw. */
  #show() {
    const order = wanted(current().parameters);
    const { filter, healths, column, isDown } = order;
    const shown = chosen(this.#clients, order);
    this.#shown = shown;
    if (document.activeElement !== this.#search && this.#search.value !== filter) this.#search.value = filter;
    this.#heads.forEach((head, place) => {
      const is = COLUMNS[place] === column;
      if (is) head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const scales = tops(this.#clients);
    this.#heads.forEach((head, place) => {
      const { spark, written } = COLUMNS[place];
      if (!spark) return;
      const top = scales[spark];
      write(head.querySelector(".scale"), top > 0 ? `0 – ${written(top).replace(/\.\d+/, "")}` : "");
    });
    this.#tiles.press(healths);
    this.#scroller.setAttribute("aria-rowcount", shown.length + 1);
    this.#scroller.hidden = shown.length === 0;
    this.#rows.show(shown.map((client) => ({ ...client, scales, now: now() })));
    const all = this.#clients.length;
    write(
      this.#found,
      shown.length === all
        ? several(all, "client")
        : `${several(shown.length, "client")} of ${all.toLocaleString("en")}`,
    );
    this.#empty(all, shown.length);
    this.#showPicked();
  }

  #empty(all, found) {
    const kind = found ? "" : all ? "filtered" : "nobody";
    if (this.#nothing.dataset.kind === kind) return;
    this.#tiles.element.hidden = this.#toolbar.hidden = kind === "nobody";
    this.#nothing.dataset.kind = kind;
    const everyone = () => {
      this.#search.value = "";
      change({ filter: null, health: null });
    };
    this.#nothing.replaceChildren(
      ...(kind === "nobody"
        ? [nobody()]
        : kind === "filtered"
          ? [
              notice(
                "No client is like that",
                "None has this name or host and this health.",
                h("button", { type: "button", onclick: everyone }, "Show every client"),
              ),
            ]
          : []),
    );
  }

  #sort(column) {
    const present = wanted(current().parameters);
    const isDown = present.column === column ? !present.isDown : column.down;
    change({ sort: column.key, order: isDown ? "down" : "up" });
    announce(`Sorted by ${column.title}, ${isDown ? "descending" : "ascending"}.`);
  }

  #toggle(health) {
    const present = current().parameters.getAll("health");
    change({ health: present.includes(health) ? present.filter((one) => one !== health) : [...present, health] });
  }

  #pick(key, is) {
    if (is) this.#picked.add(key);
    else this.#picked.delete(key);
    this.#showPicked();
  }

  #showPicked() {
    const number = this.#picked.size;
    const can = number >= 2 && number <= ITEMS_MAX;
    write(this.#compare, number ? `Compare ${number}` : "Compare");
    this.#compare.title =
      number > ITEMS_MAX ? `At most ${ITEMS_MAX} fit on one axis` : can ? "" : "Pick two clients or more";
    if (can)
      this.#compare.href = link("compare", "", {
        item: [...this.#picked].map((key) => packItem(key)),
        range: current().parameters.get("range"),
      });
    else this.#compare.removeAttribute("href");
    this.#compare.setAttribute("aria-disabled", String(!can));
  }

  #save() {
    const header = [
      "identifier",
      "host",
      "run",
      "health",
      "first",
      "last",
      "samples",
      "cpu_percent",
      "memory_percent",
      "network_bytes_per_second",
      "power_watts",
    ];
    const lines = this.#shown.map((client) => [
      client.key,
      client.host,
      client.run,
      client.health,
      iso(client.first),
      iso(client.last),
      client.samples,
      client.cpu,
      client.memory,
      client.network,
      client.power,
    ]);
    download(fileName("fleet"), "text/csv", csv([header, ...lines]));
  }
}
