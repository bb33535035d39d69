// Elements without markup: whatever comes from a client becomes text and attributes, never HTML.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. Attributes: functions named on... are listeners, true is an empty attribute, false and null are none.
 * Children: nodes, text, or nested lists of them; null and false are left out.
 */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== false && child !== undefined),
  );
  return element;
}

/** A name that a client chose, in a direction of writing of its own: it cannot turn what is beside it. */
export function named(text) {
  return h("bdi", { class: "name" }, text);
}

/** Write text where it has changed: an untouched node keeps a reader's selection. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

let announced = 0;

/** Say something to a screen reader. */
export function announce(text) {
  const node = document.getElementById("announcer");
  node.textContent = "";
  clearTimeout(announced);
  announced = setTimeout(() => (node.textContent = text), 50);
}

/** Hand the browser a file to keep. */
export function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const anchor = h("a", { href: url, download: name });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
