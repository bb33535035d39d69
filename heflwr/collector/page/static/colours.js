// The style sheet's colours, for what is painted on a canvas.

let known = new Map();
const probe = document.createElement("span");
probe.hidden = true;
document.documentElement.append(probe);
addEventListener("themechange", () => (known = new Map()));

/** The colour that a custom property stands for now: colour("--ink") is "rgb(…)". */
export function colour(name, alpha = 1) {
  if (!known.has(name)) {
    probe.style.color = `var(${name})`;
    known.set(name, getComputedStyle(probe).color);
  }
  const found = known.get(name);
  return alpha === 1
    ? found
    : found.replace(/^rgb\((.*)\)$/, (whole, parts) => `rgba(${parts.replaceAll(" ", "")},${alpha})`);
}
