// What stands where there are no numbers: nothing yet, none in this time, an error.

import { h } from "./dom.js";

/** A notice in place of a view or a part of one. `actions` are nodes. */
export function notice(title, text, ...actions) {
  return h(
    "div",
    { class: "notice" },
    h("h2", {}, title),
    [text].flat().map((line) => h("p", {}, line)),
    (actions.length && h("p", { class: "actions" }, actions)) || null,
  );
}

export function failed(error, again) {
  const text = error?.status ? `It answered: ${error.message}` : String(error?.message ?? error);
  return notice(
    "The collector could not answer that",
    text,
    h("button", { type: "button", class: "primary", onclick: again }, "Try again"),
  );
}

export function loading() {
  return h("p", { class: "loading", role: "status" }, "Loading…");
}

/** The first steps, for a collector that nobody has sent to yet. */
export function nobody() {
  const code = [
    "from heflwr.monitor.process_monitor import RemoteMonitor",
    "",
    "monitor = RemoteMonitor(",
    `    "${location.origin}", interval=1, identifier="client-1"`,
    ")",
    "monitor.start()",
  ].join("\n");
  return h(
    "div",
    { class: "notice" },
    h("h2", {}, "No client has sent anything yet"),
    h("p", {}, "Start one, and it appears here by itself:"),
    h("pre", { tabindex: "0", "aria-label": "Example" }, h("code", {}, code)),
  );
}
