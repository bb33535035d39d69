// A chart's data as uPlot takes it: columns of x, mean, low and high.

const { uPlot } = globalThis;

/** Columns for uPlot: x, then mean, low and high of each line. */
export function table(lines) {
  const columns = lines.map(({ xs, mean, low, high }) => [
    xs,
    mean,
    low ?? mean.map(() => null),
    high ?? mean.map(() => null),
  ]);
  const [first, ...others] = columns;
  if (others.every(([xs]) => xs.length === first[0].length && xs[0] === first[0][0] && xs.at(-1) === first[0].at(-1))) {
    return [first[0], ...columns.flatMap((column) => column.slice(1))];
  }
  return uPlot.join(columns);
}

/** The place nearest to `at` where the line has a number, within a few points. */
export function near(values, at) {
  for (let distance = 0; distance < 8; distance += 1) {
    for (const place of [at - distance, at + distance]) if (Number.isFinite(values[place])) return place;
  }
  return at;
}

/** Points are drawn where there are few, or a line would not show. */
export function lonely(u, place) {
  let seen = 0;
  for (const value of u.data[place]) if (value !== null && value !== undefined) seen += 1;
  return seen > 0 && seen <= 12;
}
