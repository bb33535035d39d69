// From the collector's answer to a chart's lines.

import { isDelta } from "./metrics.js";

const GAP_INTERVALS = 3; // a client that misses this many samples was away

/**
 * One line: {xs, mean, low, high}. `interval` is the seconds between the client's samples: buckets narrower than that
 * are empty without anything missing, and what was counted between two samples becomes a rate. `origin` is taken off x.
 */
export function line(answer, series, interval, origin = 0) {
  const { start, step } = answer;
  const scale = isDelta(series.metric) ? 1 / (interval || 1) : 1;
  const far = Math.ceil((GAP_INTERVALS * (interval || step)) / step);
  const xs = series.mean.map((value, place) => start + (place + 0.5) * step - origin);
  const mean = bridged(series.mean, far, scale);
  return { xs, mean, low: alike(mean, series.min, scale), high: alike(mean, series.max, scale) };
}

/** Nulls of short stretches become undefined, which a chart draws across. */
function bridged(values, far, scale) {
  const found = values.map((value) => (value === null ? null : value * scale));
  let last = -1;
  found.forEach((value, place) => {
    if (value === null) return;
    if (last >= 0 && place - last <= far) found.fill(undefined, last + 1, place);
    last = place;
  });
  return found;
}

function alike(mean, values, scale) {
  return mean.map((value, place) =>
    value === null || value === undefined ? value : (values[place] ?? value / scale) * scale,
  );
}
