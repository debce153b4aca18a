// Asks the clusters' thread which voxels belong to clusters that are too small, for every map, newest wish first.

import { ABSOLUTE, POSITIVE, RegionField, SIGNED } from "./fields.js";
import { OUTSIDE } from "./heatmaps.js";

export class Sieve {
  constructor(found) {
    this.found = found; // called when a map has a new result
    this.sent = new WeakMap(); // map -> what was asked last
    this.busy = new WeakMap(); // map -> what to ask next
    this.maps = new Map(); // method -> the map that the thread has
  }

  get worker() {
    if (!this.thread) {
      this.thread = new Worker(new URL("./clusters.js", import.meta.url), { type: "module" });
      this.thread.onmessage = ({ data }) => this.receive(data);
    }
    return this.thread;
  }

  // `minimum` in mm3; 0 shows everything. `threshold` as a stored number.
  want(map, { minimum, threshold, sign }) {
    const mode = sign === "signed" ? SIGNED : map.entry.positive_only ? POSITIVE : ABSOLUTE;
    const wish = JSON.stringify([minimum, threshold, mode]);
    if (this.sent.get(map) === wish) return;
    this.sent.set(map, wish);
    if (minimum === 0) this.apply(map, null);
    else if (this.busy.has(map)) this.busy.set(map, { minimum, threshold, mode });
    else this.ask(map, { minimum, threshold, mode });
  }

  ask(map, wish) {
    const { key } = map;
    const volume = this.maps.get(key) === map ? undefined : volumeOf(map);
    this.maps.set(key, map);
    this.busy.set(map, null);
    this.worker.postMessage({ key, volume, job: 1, ...wish });
  }

  receive({ key, removed }) {
    const map = this.maps.get(key);
    const next = this.busy.get(map);
    this.busy.delete(map);
    if (next) this.ask(map, next);
    if (JSON.parse(this.sent.get(map))[0] > 0) this.apply(map, removed);
  }

  apply(map, removed) {
    if (map.removed === removed) return;
    map.removed = removed;
    map.removedVersion++;
    this.found();
  }

  stop() {
    this.thread?.terminate();
  }
}

function volumeOf(map) {
  const { field, lattice } = map;
  const cell = ({ step }) => step[0] * step[1] * step[2];
  if (field instanceof RegionField) {
    const { shape } = lattice.grid;
    return { shape, data: field.values, labels: lattice.labels, outside: OUTSIDE, cellMm3: cell(lattice.grid) };
  }
  const { shape } = field.grid;
  if (map.entry.native_grid === "voxels") return { shape, data: field.data, outside: OUTSIDE, cellMm3: cell(field.grid) };
  const brain = Float64Array.from(map.blocksWithBrain(), (count) => count * cell(lattice.grid));
  return { shape, data: field.data, outside: OUTSIDE, cellMm3: brain };
}
