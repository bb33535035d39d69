// Which time is shown: the last so-and-so-long, everything, or from a moment to another. In links: "1h", "all", "a-b".

export const PRESETS = [
  ["5m", "Last 5 minutes", 300],
  ["15m", "Last 15 minutes", 900],
  ["1h", "Last hour", 3600],
  ["6h", "Last 6 hours", 21_600],
  ["24h", "Last 24 hours", 86_400],
  ["7d", "Last 7 days", 604_800],
  ["all", "Everything", Infinity],
];

export const DEFAULT = "1h";

/**
 * {text, label, follows, since, until}: `follows` says that it ends now; since and until are Unix seconds, null where
 * open. `now` is the collector's.
 */
export function read(text, now) {
  const fixed = /^(\d{1,10}(?:\.\d+)?)-(\d{1,10}(?:\.\d+)?)$/.exec(text ?? "");
  if (fixed && Number(fixed[1]) < Number(fixed[2])) {
    return { text, label: "Chosen time", follows: false, since: Number(fixed[1]), until: Number(fixed[2]) };
  }
  const [key, label, seconds] = PRESETS.find(([name]) => name === text) ?? PRESETS.find(([name]) => name === DEFAULT);
  return { text: key, label, follows: true, since: seconds === Infinity ? null : now - seconds, until: null };
}

export function between(since, until) {
  return `${Math.max(0, since).toFixed(3)}-${Math.max(0, until).toFixed(3)}`;
}
