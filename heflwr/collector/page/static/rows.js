// A table of any length: only the rows in the window are in the document, the rest is two empty rows of their height.
// Rows are kept by key, so that an update leaves focus, selection and hover where they are.

import { h } from "./dom.js";

const SPARE = 8; // rows beyond each edge: what the Tab key and a quick thumb find there

export class Rows {
  #body;
  #make;
  #above;
  #below;
  #rows = new Map();
  #items = [];
  #asked = 0;
  #first = -1;
  #last = -1;

  /** `make(item)` returns {element, update(item)}; an item has a `key`. */
  constructor(body, make) {
    this.#body = body;
    this.#make = make;
    this.#above = this.#spacer();
    this.#below = this.#spacer();
    body.append(this.#above, this.#below);
    this.onscroll = () => {
      this.#asked ||= requestAnimationFrame(() => {
        this.#asked = 0;
        this.#place(false);
      });
    };
    addEventListener("scroll", this.onscroll, { passive: true });
    addEventListener("resize", this.onscroll);
    body.addEventListener("keydown", (event) => this.#move(event));
  }

  leave() {
    removeEventListener("scroll", this.onscroll);
    removeEventListener("resize", this.onscroll);
    cancelAnimationFrame(this.#asked);
  }

  show(items) {
    this.#items = items;
    this.#place(true);
  }

  /** Call `act` with every row that is in the document. */
  each(act) {
    for (const row of this.#rows.values()) act(row);
  }

  #spacer() {
    return h("tr", { class: "spacer", "aria-hidden": "true" }, h("td"));
  }

  #height() {
    return parseFloat(getComputedStyle(this.#body).getPropertyValue("--row")) || 52;
  }

  #place(isNew) {
    if (!this.#body.isConnected) return;
    const height = this.#height();
    const top = this.#body.getBoundingClientRect().top;
    const total = this.#items.length;
    const first = Math.max(0, Math.min(total, Math.floor(-top / height) - SPARE));
    const last = Math.max(first, Math.min(total, Math.ceil((innerHeight - top) / height) + SPARE));
    if (!isNew && first === this.#first && last === this.#last) return;
    [this.#first, this.#last] = [first, last];
    const shown = this.#items.slice(first, last);
    const keys = new Set(shown.map((item) => item.key));
    for (const [key, row] of this.#rows) {
      if (keys.has(key)) continue;
      row.element.remove();
      this.#rows.delete(key);
    }
    let before = this.#above;
    shown.forEach((item, place) => {
      const known = this.#rows.get(item.key);
      const row = known ?? this.#make(item);
      if (!known) this.#rows.set(item.key, row);
      if (!known || isNew) row.update(item);
      row.element.setAttribute("aria-rowindex", first + place + 2); // the header is the first
      if (before.nextSibling !== row.element) before.after(row.element);
      before = row.element;
    });
    this.#above.firstChild.style.height = `${first * height}px`;
    this.#below.firstChild.style.height = `${(total - last) * height}px`;
    this.#above.hidden = first === 0;
    this.#below.hidden = last === total;
  }

  /** Arrows, Home and End go from row to row. */
  #move(event) {
    const row = event.target.closest("tr");
    const steps = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };
    if (!row || !(event.key in steps) || event.target.matches("input")) return;
    const present = Number(row.getAttribute("aria-rowindex")) - 2;
    const wanted = Math.max(0, Math.min(this.#items.length - 1, present + steps[event.key]));
    event.preventDefault();
    const height = this.#height();
    const top = this.#body.getBoundingClientRect().top + wanted * height;
    if (top < 3 * height || top > innerHeight - 2 * height)
      scrollBy({ top: top - innerHeight / 2, behavior: "instant" });
    this.#place(false);
    this.#rows.get(this.#items[wanted]?.key)?.element.querySelector("a")?.focus({ preventScroll: true });
  }
}
