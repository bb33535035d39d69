// What metrics are called, and which belong on one chart. A metric that is not here is shown under its own name.

const LABELS = {
  __proto__: null, // "constructor" is a name that a client may choose
  cpu_seconds: "CPU time",
  cpu_usage: "CPU",
  memory_bytes: "Memory",
  memory_usage: "Memory, share of the machine",
  network_bytes_sent: "Sent",
  network_bytes_recv: "Received",
  power_vdd_in: "Whole board",
  power_vdd_cpu_gpu_cv: "CPU, GPU and accelerators",
  power_vdd_soc: "Rest of the chip",
  energy_vdd_in: "Energy of the whole board",
  energy_vdd_cpu_gpu_cv: "Energy of CPU, GPU and accelerators",
  energy_vdd_soc: "Energy of the rest of the chip",
  disk_bytes_read: "Read",
  disk_bytes_written: "Written",
  gpu_usage: "GPU",
  gpu_memory_bytes: "GPU memory",
  gpu_power: "GPU power",
  energy_cpu_joules: "CPU packages",
  energy_gpu_joules: "GPUs",
  energy_system_joules: "Whole machine",
  threads: "Threads",
  open_files: "Open files",
  context_switches: "Context switches",
};

/** In a table there is no title above that says what is sent, read or whole. */
const LONG = {
  __proto__: null,
  network_bytes_sent: "Network, sent",
  network_bytes_recv: "Network, received",
  power_vdd_in: "Power of the whole board",
  power_vdd_cpu_gpu_cv: "Power of CPU, GPU and accelerators",
  power_vdd_soc: "Power of the rest of the chip",
  disk_bytes_read: "Disk, read",
  disk_bytes_written: "Disk, written",
  energy_cpu_joules: "Energy of the CPU packages",
  energy_gpu_joules: "Energy of the GPUs",
  energy_system_joules: "Energy of the whole machine",
};

/** Counted since the previous sample: a sum means something, and divided by the interval it is a rate. */
const DELTAS = /^(cpu_seconds|network_bytes_.*|disk_bytes_.*|energy_.*|context_switches)$/;

const GROUPS = [
  { title: "CPU", metrics: ["cpu_usage"] },
  { title: "Memory", metrics: ["memory_bytes"], instead: ["memory_usage"] },
  { title: "Network", metrics: ["network_bytes_sent", "network_bytes_recv"] },
  { title: "Power", metrics: ["power_vdd_in", "power_vdd_cpu_gpu_cv", "power_vdd_soc"] },
  { title: "GPU", metrics: ["gpu_usage"] },
  { title: "GPU memory", metrics: ["gpu_memory_bytes"] },
  { title: "GPU power", metrics: ["gpu_power"] },
  { title: "Power of the processors", metrics: ["energy_cpu_joules", "energy_gpu_joules", "energy_system_joules"] },
  { title: "Disk", metrics: ["disk_bytes_read", "disk_bytes_written"] },
  { title: "Threads", metrics: ["threads"] },
  { title: "Open files", metrics: ["open_files"] },
  { title: "Context switches", metrics: ["context_switches"] },
];

/** In the summary table, but not worth a chart: another metric draws the same. */
const UNDRAWN = new Set(["cpu_seconds", "memory_usage", "energy_vdd_in", "energy_vdd_cpu_gpu_cv", "energy_vdd_soc"]);

export function label(metric) {
  return LABELS[metric] ?? metric;
}

export function longLabel(metric) {
  return LONG[metric] ?? label(metric);
}

/** Things with a metric, in the order of the labels above; those without a label come last. */
export function ordered(things) {
  const place = new Map(Object.keys(LABELS).map((metric, at) => [metric, at]));
  return things.toSorted(
    (one, other) => (place.get(one.metric) ?? Infinity) - (place.get(other.metric) ?? Infinity) || 0,
  );
}

export function isDelta(metric) {
  return DELTAS.test(metric);
}

/** The unit that a chart of the metric has: per second, where samples count what was added. */
export function drawnUnit(metric, unit) {
  return isDelta(metric) ? `${unit ?? "count"}/s` : unit;
}

/** The charts for these metrics, in order: [{title, metrics}], every metric at most once. */
export function charts(available) {
  const there = new Set(available);
  const found = [];
  const used = new Set(UNDRAWN);
  for (const group of GROUPS) {
    let metrics = group.metrics.filter((metric) => there.has(metric));
    if (!metrics.length) metrics = (group.instead ?? []).filter((metric) => there.has(metric));
    metrics.forEach((metric) => used.add(metric));
    if (metrics.length) found.push({ title: group.title, metrics });
  }
  for (const metric of available) if (!used.has(metric)) found.push({ title: label(metric), metrics: [metric] });
  return found;
}
