// Adding a client to a comparison: a field that knows the names.

import { ask } from "../api.js";
import { h } from "../dom.js";
import { ITEMS_MAX } from "../marks.js";
import { packItem } from "../route.js";

const NAMES_MAX = 10_000;

export class Picker {
  #names = new Set();
  #list = h("datalist", { id: "client-names" });
  #field = h("input", {
    list: "client-names",
    placeholder: "Add a client",
    "aria-label": "Add a client",
    spellcheck: "false",
    autocomplete: "off",
  });
  #wrong = h("span", { class: "wrong", role: "alert" });
  #button = h("button", {}, "Add");

  /** `add(item)` gets the packed item that was chosen. */
  constructor(add) {
    const submit = (event) => {
      event.preventDefault();
      const name = this.#field.value;
      this.#wrong.textContent = name && !this.#names.has(name) ? "No client has this name." : "";
      if (!this.#names.has(name)) return;
      this.#field.value = "";
      add(packItem(name));
    };
    this.#field.addEventListener("input", () => (this.#wrong.textContent = ""));
    this.element = h("form", { class: "adder", onsubmit: submit }, this.#field, this.#list, this.#button, this.#wrong);
  }

  /** Learn the names; once is enough, who comes later is found when the view is opened again. */
  async update(signal) {
    if (this.#names.size) return;
    const { clients } = await ask("clients", { limit: NAMES_MAX }, signal);
    this.#names = new Set(clients.map(({ identifier }) => identifier));
    this.#list.replaceChildren(...[...this.#names].map((value) => h("option", { value })));
  }

  limit(isFull) {
    this.#field.disabled = isFull;
    this.#button.disabled = isFull;
    this.#field.placeholder = isFull ? `At most ${ITEMS_MAX}` : "Add a client";
  }
}
