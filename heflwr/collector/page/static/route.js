// Where one is, in the part of the address behind "#": a view, perhaps a name, and parameters. Every state is a link.

/** {view, name, parameters}: "#/client/a%20b?range=1h" is view "client", name "a b". */
export function current() {
  const text = location.hash.replace(/^#\/?/, "");
  const [path, query = ""] = split(text, "?");
  const [view, name = ""] = split(path, "/");
  return { view: view || "fleet", name: decoded(name), parameters: new URLSearchParams(query) };
}

/** "?a=1&b=2": parameters that are null or empty are left out, lists are repeated. */
export function query(parameters) {
  const pairs = new URLSearchParams();
  for (const [name, value] of parameters instanceof URLSearchParams ? parameters : Object.entries(parameters)) {
    for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") pairs.append(name, one);
  }
  return pairs.size ? `?${pairs}` : "";
}

/** The address of a view. */
export function link(view, name = "", parameters = {}) {
  const path = name === "" ? (view === "fleet" ? "" : view) : `${view}/${encodeURIComponent(name)}`;
  return `#/${path}${query(parameters)}`;
}

/** Change parameters of the present view; `step` makes it a step that the Back button undoes. */
export function change(parameters, { step = false } = {}) {
  const { view, name, parameters: present } = current();
  for (const [key, value] of Object.entries(parameters)) {
    present.delete(key);
    for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") present.append(key, one);
  }
  const address = link(view, name, present);
  if (address === (location.hash || "#/")) return;
  if (step) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
  dispatchEvent(new Event("routechange"));
}

export function go(address) {
  location.hash = address;
}

/** One item of a comparison, as a parameter: a client, or one run of it. */
export function packItem(identifier, run) {
  return encodeURIComponent(identifier) + (run ? `:${run}` : "");
}

export function unpackItem(text) {
  const [identifier, run = ""] = split(text, ":");
  return { identifier: decoded(identifier), run };
}

function split(text, mark) {
  const place = text.indexOf(mark);
  return place < 0 ? [text] : [text.slice(0, place), text.slice(place + 1)];
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // typed by hand, and not quite right
  }
}
