// Which clients the table shows, in which order: as the address says.

import { COLUMNS } from "./fleet_row.js";

const HEALTHS = ["live", "stale", "lost"];

/** {filter, healths, column, isDown} from the address's parameters; what makes no sense there is the default. */
export function wanted(parameters) {
  const column = COLUMNS.find(({ key }) => key === parameters.get("sort")) ?? COLUMNS[0];
  return {
    filter: parameters.get("filter") ?? "",
    healths: parameters.getAll("health").filter((health) => HEALTHS.includes(health)),
    column,
    isDown: parameters.has("order") ? parameters.get("order") === "down" : column.down,
  };
}

/** The clients that are wanted, in order. */
export function chosen(clients, { filter, healths, column, isDown }) {
  const words = filter.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  const is = (client) =>
    (!healths.length || healths.includes(client.health)) && words.every((word) => client.haystack.includes(word));
  return clients.filter(is).sort(by(column, isDown));
}

/** An order of clients; who has no number comes last, equals are in the order of their names. */
function by(column, isDown) {
  const names = new Intl.Collator("en", { numeric: true });
  return (one, other) => {
    const [a, b] = [column.value(one), column.value(other)];
    if (a === b) return names.compare(one.key, other.key);
    if (a === null || a === undefined) return 1;
    if (b === null || b === undefined) return -1;
    const order = typeof a === "string" ? names.compare(a, b) : a - b;
    return isDown ? -order : order;
  };
}
