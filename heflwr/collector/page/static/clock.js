// The collector's time: its clock decides what "the last hour" is, whatever the viewer's own says.

const COARSE_SECONDS = 2; // what a Date header cannot tell

let skew = 0; // the collector's clock less ours, seconds

/** Unix seconds by the collector's clock. */
export function now() {
  return Date.now() / 1000 + skew;
}

/** The collector said what time it is; `exact` is false for a Date header. */
export function hear(time, exact = true) {
  const off = time - now();
  if (Number.isFinite(off) && (exact || Math.abs(off) > COARSE_SECONDS)) skew += off;
}
