// Numbers as people read them: a few digits and the unit that one would say.

const MISSING = "–";
const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const THOUSANDS = ["", "k", "M", "G", "T"];

const counts = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

/** "34 %", "1.2 GiB", "350 mW". Units are those of the collector, with "/s" for rates. */
export function quantity(value, unit) {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  const perSecond = unit?.endsWith("/s") ? "/s" : "";
  const base = perSecond ? unit.slice(0, -2) : unit;
  switch (base) {
    case "percent":
      return `${digits(value)} %`;
    case "bytes":
      return (Math.abs(value) < 1024 ? `${Math.round(value)} B` : scaled(value, 1024, BINARY, "")) + perSecond;
    case "milliwatts":
      return watts(value / 1000);
    case "watts":
      return watts(value);
    case "millijoules":
      return perSecond ? watts(value / 1000) : scaled(value / 1000, 1000, THOUSANDS, "J");
    case "joules":
      return perSecond ? watts(value) : scaled(value, 1000, THOUSANDS, "J");
    case "seconds":
      return perSecond ? `${digits(value)} s/s` : duration(value);
    case "count":
      return (Number.isInteger(value) ? counts.format(value) : digits(value)) + perSecond;
    default:
      return plain.format(value) + (base ? ` ${base}` : "") + perSecond;
  }
}

function watts(value) {
  if (value !== 0 && Math.abs(value) < 1) return `${digits(value * 1000)} mW`;
  return scaled(value, 1000, THOUSANDS, "W");
}

function scaled(value, step, names, unit) {
  let place = 0;
  while (Math.abs(value) >= step && place < names.length - 1) {
    value /= step;
    place += 1;
  }
  return `${digits(value)} ${names[place]}${unit}`.trimEnd();
}

function digits(value) {
  const size = Math.abs(value);
  if (size !== 0 && size < 0.01) return value.toPrecision(1);
  if (size >= 1000) return counts.format(value);
  return value.toFixed(size === 0 || size >= 100 ? 0 : size < 1 ? 2 : 1);
}

/** For a scale, where numbers are round: "25 %", not "25.0 %". */
export function mark(value, unit) {
  return quantity(value, unit).replace(/\.0+(?=\D|$)/, "");
}

export function count(value) {
  return counts.format(value);
}

/** "1 client", "3 clients". */
export function several(number, one, more = `${one}s`) {
  return `${counts.format(number)} ${number === 1 ? one : more}`;
}

/** Seconds as "12.3 s", "4 min 10 s", "2 h 5 min", "3 d 4 h". */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return MISSING;
  const sign = seconds < 0 ? "−" : "";
  let rest = Math.abs(seconds);
  if (rest === 0) return "0 s";
  if (rest < 1) return `${sign}${Math.round(rest * 1000)} ms`;
  if (rest < 60) return `${sign}${rest < 10 && !Number.isInteger(rest) ? rest.toFixed(1) : Math.round(rest)} s`;
  rest = Math.round(rest);
  const pairs = [
    ["d", 86400],
    ["h", 3600],
    ["min", 60],
    ["s", 1],
  ];
  const first = pairs.findIndex(([, size]) => rest >= size);
  const [name, size] = pairs[first];
  const whole = Math.floor(rest / size);
  const next = pairs[first + 1];
  const part = next ? Math.floor((rest - whole * size) / next[1]) : 0;
  return `${sign}${whole} ${name}${part ? ` ${part} ${next[0]}` : ""}`;
}

/** How long ago, in one word or two. */
export function ago(seconds) {
  if (!Number.isFinite(seconds)) return MISSING;
  if (seconds < 1.5) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 2 * 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

const clocks = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minutes = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const days = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const years = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

export const clock = (time) => clocks.format(time * 1000);
export const minute = (time) => minutes.format(time * 1000);
export const day = (time) => days.format(time * 1000);

/** A moment: the day is left out where it is today's, the year where it is this one. */
export function moment(time) {
  const date = new Date(time * 1000);
  const today = new Date();
  if (date.toDateString() === today.toDateString()) return clock(time);
  return `${(date.getFullYear() === today.getFullYear() ? days : years).format(date)}, ${minute(time)}`;
}

/** For files: the moment in UTC, to the millisecond. */
export function iso(time) {
  return new Date(time * 1000).toISOString();
}
