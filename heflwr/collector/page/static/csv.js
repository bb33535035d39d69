// A table as a file for spreadsheets (RFC 4180).

/** `rows` are lists of text, numbers and nulls; the first is the header. */
export function csv(rows) {
  return rows.map((row) => row.map(cell).join(",") + "\r\n").join("");
}

function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return Number.isFinite(value) ? String(value) : "";
  // A name that a client chose must stay a name: spreadsheets take a cell with these first characters for a formula.
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A file's name from what is shown, safe on every system. */
export function fileName(...parts) {
  const text = parts
    .filter(Boolean)
    .join("-")
    .replace(/[^\p{L}\p{N}._-]+/gu, "-")
    .slice(0, 80);
  return `heflwr-${text}.csv`;
}
