// The controls in the bar: which time, live or paused, light or dark.

import { logout } from "./api.js";
import { now } from "./clock.js";
import { h, write } from "./dom.js";
import { recall, remember } from "./keep.js";
import { PRESETS, between, read } from "./range.js";
import { change, current } from "./route.js";

export class Controls {
  #live;
  #select;
  #custom = h("option", { value: "custom" }, "Chosen time");
  #dialog;
  #pause;
  #leave;

  constructor(host, live) {
    this.#live = live;
    this.#select = h(
      "select",
      { "aria-label": "Time range", onchange: () => this.#chosen() },
      PRESETS.map(([value, label]) => h("option", { value }, label)),
      h("option", { value: "choose" }, "From … to …"),
    );
    this.#pause = h(
      "button",
      { type: "button", class: "live", onclick: () => live.pause(!live.paused) },
      h("span", { class: "dot", "aria-hidden": "true" }),
      h("span", { class: "label" }, "Loading"),
    );
    this.#dialog = this.#makeDialog();
    this.#leave = h("button", { type: "button", class: "link", onclick: () => this.#logout() }, "Log out");
    host.append(this.#leave, this.#select, this.#pause, themeSwitch(), this.#dialog);
    live.addEventListener("state", () => this.show());
    this.show();
  }

  show() {
    const range = read(current().parameters.get("range"), now());
    const fixed = range.since !== null && !range.follows;
    if (fixed && !this.#custom.isConnected) this.#select.append(this.#custom);
    if (!fixed) this.#custom.remove();
    this.#select.value = fixed ? "custom" : range.text;
    const words = {
      loading: "Loading",
      live: "Live",
      paused: "Paused",
      fixed: "Fixed",
      disconnected: "Offline",
      login: "Locked",
    };
    const { state, paused } = this.#live;
    this.#leave.hidden = state === "login" || recall("entered") === null;
    this.#pause.dataset.state = state;
    write(this.#pause.querySelector(".label"), words[state]);
    this.#pause.disabled = state === "fixed" || state === "login";
    this.#pause.setAttribute("aria-label", `${words[state]}. ${paused ? "Go on" : "Pause"}`);
    this.#pause.title = state === "fixed" ? "A chosen time does not move" : paused ? "Go on" : "Pause";
  }

  async #logout() {
    remember("entered", null);
    try {
      await logout();
    } finally {
      this.#live.now();
    }
  }

  #chosen() {
    if (this.#select.value === "choose") {
      this.#open();
    } else if (this.#select.value !== "custom") {
      change({ range: this.#select.value }, { step: true });
    }
  }

  #open() {
    const range = read(current().parameters.get("range"), now());
    const [since, until] = this.#dialog.querySelectorAll("input");
    since.value = local(range.since ?? now() - 86_400);
    until.value = local(range.until ?? now());
    this.#dialog.showModal();
  }

  #makeDialog() {
    const since = h("input", { type: "datetime-local", step: "1", required: true });
    const until = h("input", { type: "datetime-local", step: "1", required: true });
    const wrong = h("p", { class: "wrong", role: "alert" });
    const form = h(
      "form",
      {
        method: "dialog",
        onsubmit: (event) => {
          const [from, to] = [new Date(since.value) / 1000, new Date(until.value) / 1000];
          if (from < to) return change({ range: between(from, to) }, { step: true });
          event.preventDefault();
          wrong.textContent = "The end must be later than the beginning.";
        },
      },
      h("h2", {}, "From … to …"),
      h("label", {}, "Beginning", since),
      h("label", {}, "End", until),
      wrong,
      h(
        "p",
        { class: "actions" },
        h("button", { class: "primary" }, "Show"),
        h("button", { type: "button", onclick: () => this.#dialog.close() }, "Cancel"),
      ),
    );
    return h(
      "dialog",
      {
        "aria-label": "Choose a time",
        onclose: () => {
          wrong.textContent = "";
          this.show();
        },
      },
      form,
    );
  }
}

function local(time) {
  const date = new Date(time * 1000);
  return new Date(date - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function themeSwitch() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const button = h(
    "button",
    { type: "button", class: "theme", onclick: () => set(isDark() ? "light" : "dark") },
    h("span", { "aria-hidden": "true" }),
  );
  const show = () => {
    button.setAttribute("aria-label", isDark() ? "Use light colours" : "Use dark colours");
    button.title = button.getAttribute("aria-label");
    dispatchEvent(new Event("themechange"));
  };
  const set = (theme) => {
    root.dataset.theme = theme;
    remember("theme", theme);
    show();
  };
  dark.addEventListener("change", show);
  show();
  return button;
}
