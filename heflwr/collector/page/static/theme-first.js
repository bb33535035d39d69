// Before anything is painted: a page that was switched to dark does not flash white.
try {
  const chosen = localStorage.getItem("heflwr.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // A browser that keeps nothing follows the system.
}
