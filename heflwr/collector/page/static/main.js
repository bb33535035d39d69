// The page's frame: which view is shown, when it asks again, and what it says when nobody answers.

import { now } from "./clock.js";
import { announce, h, write } from "./dom.js";
import { Controls } from "./controls.js";
import { Live } from "./live.js";
import { read } from "./range.js";
import { current, link } from "./route.js";
import { failed, loading, notice } from "./states.js";
import { moment } from "./units.js";
import { ClientView } from "./views/client.js";
import { CompareView } from "./views/compare.js";
import { FleetView } from "./views/fleet.js";
import { FunctionsView } from "./views/functions.js";
import { loginForm } from "./views/login.js";

const VIEWS = { fleet: FleetView, client: ClientView, compare: CompareView, functions: FunctionsView };
const TABS = [
  ["fleet", "Fleet"],
  ["compare", "Compare"],
  ["functions", "Functions"],
];

const MOVED_SECONDS = 10;

const main = document.getElementById("view");
const connection = document.getElementById("connection");
const tabs = TABS.map(([view, title]) => h("a", { "data-view": view }, title));
document.getElementById("views").append(...tabs);

let shown = { view: "", name: "", asked: "" };
let view = null;
let hasAnswered = false;

/** What views are given. */
const app = { range: () => read(current().parameters.get("range"), now()) };

const live = new Live(async (signal) => {
  const asked = view;
  if (!asked) return;
  const before = now() - Date.now() / 1000;
  await asked.update(signal);
  const isMoved = Math.abs(now() - Date.now() / 1000 - before) > MOVED_SECONDS;
  if (isMoved) await asked.update(signal); // it asked for the last hour by a clock that was wrong
  if (signal.aborted || hasAnswered) return;
  hasAnswered = true;
  main.replaceChildren(asked.element);
  asked.appeared?.();
});

const toFleet = () => h("a", { class: "button primary", href: "#/" }, "To the fleet");

function show() {
  const route = current();
  for (const tab of tabs) {
    const is = tab.dataset.view === route.view;
    tab.toggleAttribute("data-current", is);
    if (is) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
    tab.href = link(tab.dataset.view, "", { range: route.parameters.get("range") });
  }
  document.querySelector(".brand").href = link("fleet", "", { range: route.parameters.get("range") });
  const isOther = route.view !== shown.view || route.name !== shown.name;
  if (isOther) {
    view?.leave?.();
    const View = VIEWS[route.view];
    view = View ? new View(app) : null;
    hasAnswered = false;
    main.replaceChildren(
      View ? loading() : notice("There is no such page", `Nothing is called “${route.view}”.`, toFleet()),
    );
    if (shown.view) {
      scrollTo(0, 0);
      main.focus({ preventScroll: true });
    }
  }
  for (const name of VIEWS[route.view]?.local ?? []) route.parameters.delete(name);
  const asked = String(route.parameters);
  const isNew = isOther || asked !== shown.asked || !hasAnswered;
  shown = { view: route.view, name: route.name, asked };
  document.title = `${view?.title() ?? "Nothing here"} · heflwr`;
  live.follow(app.range().follows);
  controls.show();
  if (isNew) live.now();
  else view?.appeared?.();
}

live.addEventListener("state", () => {
  const { state } = live;
  document.documentElement.dataset.connection = state;
  if (state === "login") {
    hasAnswered = false;
    main.replaceChildren(
      loginForm(() => {
        main.replaceChildren(loading());
        live.now();
      }),
    );
    main.querySelector("input").focus();
  }
  if (state === "disconnected") return showDisconnected();
  if (connection.childElementCount) announce("Connected again.");
  connection.replaceChildren();
});

live.addEventListener("failure", (event) => {
  hasAnswered = false;
  main.replaceChildren(
    failed(event.error, () => {
      main.replaceChildren(loading());
      live.now();
    }),
  );
});

function showDisconnected() {
  if (!connection.childElementCount) {
    const since = live.heard ? ` What you see is from ${moment(live.heard / 1000)}.` : "";
    connection.append(
      h(
        "div",
        { class: "disconnected", role: "alert" },
        h("span", {}, h("strong", {}), since),
        h("span", { class: "retry" }),
        h("button", { type: "button", onclick: () => live.now() }, "Try now"),
      ),
    );
  }
  tick();
}

function tick() {
  const retry = connection.querySelector(".retry");
  if (retry) {
    write(connection.querySelector("strong"), live.trouble);
    const left = Math.ceil((live.retryAt - performance.now()) / 1000);
    write(retry, left > 0 ? `Next try in ${left} s` : "Trying…");
  }
  if (live.state === "live") view?.tick?.();
}

const controls = new Controls(document.getElementById("controls"), live);
addEventListener("hashchange", show);
addEventListener("routechange", show);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // "#view" would be a place in the address
  main.focus();
});
addEventListener("pagehide", () => live.stop());
addEventListener("pageshow", (event) => event.persisted && live.now());
setInterval(tick, 1000);
show();
