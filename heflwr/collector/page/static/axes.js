// What stands along a chart's edges, and how many pixels it takes.

import { clock, day, duration, mark, minute } from "./units.js";

const BINARY_STEPS = Array.from({ length: 60 }, (_, place) => 2 ** (place - 2));
const DURATION_STEPS = [0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 604_800];

/** Times of the day, and below the first of a day its date. `elapsed`: seconds since a beginning instead. */
export function xAxis(elapsed, style) {
  const values = elapsed
    ? (u, splits) => splits.map((value) => duration(value))
    : (u, splits, place, space, step) =>
        splits.map((time, at) => {
          if (time === null) return null;
          const text = step >= 86_400 ? day(time) : step < 60 ? clock(time) : minute(time);
          const isNewDay = step < 86_400 && at > 0 && day(time) !== day(splits[at - 1]);
          return isNewDay ? `${text}\n${day(time)}` : text;
        });
  return { ...style, values, space: 76, size: 34, ...(elapsed ? { incrs: DURATION_STEPS } : {}) };
}

/** Round numbers with their unit; bytes in steps of powers of two, so that they are round as MiB, too. */
export function yAxis(unit, style) {
  const values = (u, splits) => splits.map((value) => (value === null ? null : mark(value, unit)));
  return {
    ...style,
    values,
    space: 34,
    size: measured,
    gap: 6,
    ...(unit?.startsWith("bytes") ? { incrs: BINARY_STEPS } : {}),
  };
}

/** As wide as the widest number; uPlot asks again until it no longer changes. */
function measured(u, values, place, cycle) {
  const axis = u.axes[place];
  if (cycle > 1) return axis._size;
  let size = axis.ticks.size + axis.gap;
  const widest = (values ?? []).reduce(
    (found, text) => (String(text).length > found.length ? String(text) : found),
    "",
  );
  if (widest) {
    u.ctx.font = axis.font[0];
    size += u.ctx.measureText(widest).width / devicePixelRatio;
  }
  return Math.max(52, Math.ceil(size));
}

/** The range of a chart: from zero where zero is the natural floor, with a little air above. */
export function span(fromZero) {
  return (u, low, high) => {
    if (low === null || high === null) return [0, 1];
    if (fromZero && low >= 0) return [0, high > 0 ? high * 1.08 : 1];
    const air = (high - low || Math.abs(high) || 1) * 0.08;
    return [low - air, high + air];
  };
}
