// One method's relevance: its numbers, how they are spread over the brain, and what is drawn of them.
// Numbers are kept as stored integers; `scale` turns them into values in the method's unit.

import { ABSOLUTE, Field, POSITIVE, RegionField, SIGNED, blockOf } from "./fields.js";
import { Grid } from "./geometry.js";
import { OUTSIDE } from "./loading.js";
import { ofBlocks, ofRegions, ofVolume } from "./spread.js";

export { OUTSIDE };
const LARGEST = 32767;
const TOP_PERCENTILE = 99.9; // the brightest colour; a few outliers shall not darken the rest

export class HeatMap {
  constructor(entry, loaded, lattice, working) {
    Object.assign(this, { entry, lattice, removed: null, removedVersion: 0 });
    this.method = this.key = entry.method;
    if (entry.native_grid === "regions") this.useRegions(entry.region_values);
    else this.useVolume(entry, loaded, working);
    this.measure(); // upTo: voxels with |h| at or below each stored number
  }

  useVolume(entry, { data, scale }, working) {
    this.scale = scale;
    const grid = Grid.of(entry.volume);
    const own = entry.native_grid === "positions" ? blockOf(working, grid.shape, entry.stride) : undefined;
    this.field = new Field(data, grid, OUTSIDE, this.lattice.grid, own);
  }

  useRegions(valuesByIndex) {
    const known = Object.values(valuesByIndex).map(Math.abs);
    this.scale = (known.length ? Math.max(...known) : 0) / LARGEST || 1;
    const values = new Float32Array(Math.max(this.lattice.largestLabel, ...Object.keys(valuesByIndex).map(Number)) + 1);
    for (const [index, value] of Object.entries(valuesByIndex)) values[index] = value / this.scale;
    this.field = new RegionField(values, this.lattice);
  }

  get relevanceMode() {
    return this.entry.positive_only ? POSITIVE : ABSOLUTE;
  }

  // Histogram of |h|, sum of m and its profile along each axis: on the own voxels, or for coarser grids on the lattice.
  measure() {
    const { grid, found } = this.spread();
    let below = 0;
    this.upTo = Float64Array.from(found.counts, (count) => (below += count));
    this.total = below;
    this.sum = found.sum;
    this.voxelCm3 = (grid.step[0] * grid.step[1] * grid.step[2]) / 1000;
    this.profiles = found.profiles.map((values, axis) => ({
      grid,
      axis,
      percentPerMm: values.map((value) => (found.sum > 0 ? (100 * value) / found.sum / grid.step[axis] : 0)),
    }));
    this.top = this.percentile(TOP_PERCENTILE) || this.largest();
  }

  spread() {
    const { field, lattice } = this;
    const positive = this.relevanceMode === POSITIVE;
    if (field instanceof RegionField) return { grid: lattice.grid, found: ofRegions(field.values, lattice, positive) };
    if (this.entry.native_grid === "voxels") return { grid: field.grid, found: ofVolume(field.data, field.grid, positive) };
    const places = field.tables.map(({ nearest }) => nearest);
    return { grid: lattice.grid, found: ofBlocks(field.data, field.grid, places, lattice, positive) };
  }

  // The smallest stored |h| that is not below `percent` of the brain.
  percentile(percent) {
    const wanted = (percent / 100) * this.total;
    let [low, high] = [0, LARGEST];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.upTo[middle] >= wanted) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  // How much of the brain, in percent, has |h| at or below a stored number.
  rank(stored) {
    const bin = Math.min(Math.max(Math.floor(stored), 0), LARGEST);
    return this.total > 0 ? (100 * this.upTo[bin]) / this.total : 0;
  }

  largest() {
    return Math.max(this.percentile(100), 1);
  }

  // Percent of all relevance per cm3, for one stored unit.
  get shared() {
    return this.sum > 0 ? 100 / (this.sum * this.voxelCm3) : 0;
  }

  // The value in the method's unit at a voxel of the lattice; null outside the brain.
  valueAt(index) {
    const label = this.lattice.labels[this.lattice.grid.offset(index)];
    if (label === 0) return null;
    if (this.field instanceof RegionField) return this.entry.region_values[label] ?? 0;
    const offset = this.field.offsetAt(index);
    if (offset < 0 || this.field.data[offset] === OUTSIDE) return null;
    return this.field.data[offset] * this.scale;
  }

  slice(plane, index, labels, out, { sign, smooth, limit }) {
    const mode = sign === "signed" ? SIGNED : this.relevanceMode;
    return this.field.slice(plane, index, labels, out, { smooth, mode, removed: this.removed, limit });
  }

  // The lattice voxel in the middle of the strongest relevance.
  strongest() {
    this.strongestIndex ??= this.field instanceof RegionField ? this.middleOfRegion() : this.middleOfVoxel();
    return this.strongestIndex;
  }

  middleOfVoxel() {
    const { data, grid, tables } = this.field;
    const { labels, grid: lattice } = this.lattice;
    const target = this.argmax(data);
    const own = [Math.floor(target / grid.strides[0]), Math.floor(target / grid.shape[2]) % grid.shape[1], target % grid.shape[2]];
    const ranges = tables.map(({ nearest }, axis) => [...nearest.keys()].filter((i) => nearest[i] === own[axis]));
    const places = ranges.flatMap(() => []);
    for (const i of ranges[0]) {
      for (const j of ranges[1]) for (const k of ranges[2]) if (labels[lattice.offset([i, j, k])]) places.push([i, j, k]);
    }
    const centre = own.map((index, axis) => lattice.place(axis, grid.mm(axis, index)));
    return closest(places, centre) ?? centre.map((_, axis) => lattice.clamped(axis, grid.mm(axis, own[axis])));
  }

  argmax(data) {
    const positive = this.entry.positive_only;
    const counted = this.entry.native_grid === "voxels" ? null : this.blocksWithBrain();
    let [best, most] = [0, -1];
    for (let offset = 0; offset < data.length; offset++) {
      if (data[offset] === OUTSIDE || (counted && !counted[offset])) continue;
      const m = positive ? Math.max(data[offset], 0) : Math.abs(data[offset]);
      if (m > most) [best, most] = [offset, m];
    }
    return best;
  }

  blocksWithBrain() {
    const found = new Uint32Array(this.field.data.length);
    this.eachBrainVoxel((index) => found[this.field.offsetAt(index)]++);
    return found;
  }

  middleOfRegion() {
    const m = this.field.values.map((value) => (this.entry.positive_only ? Math.max(value, 0) : Math.abs(value)));
    const present = new Uint8Array(m.length);
    for (const label of this.lattice.labels) present[label] = 1;
    let label = 0;
    for (let i = 1; i < m.length; i++) if (present[i] && (label === 0 || m[i] > m[label])) label = i;
    const places = [];
    this.eachBrainVoxel((index, found) => found === label && places.push([...index]));
    const centre = [0, 1, 2].map((axis) => places.reduce((sum, place) => sum + place[axis], 0) / (places.length || 1));
    return closest(places, centre) ?? [0, 0, 0];
  }

  eachBrainVoxel(visit) {
    const { labels, grid } = this.lattice;
    const index = [0, 0, 0];
    let offset = 0;
    for (index[0] = 0; index[0] < grid.shape[0]; index[0]++) {
      for (index[1] = 0; index[1] < grid.shape[1]; index[1]++) {
        for (index[2] = 0; index[2] < grid.shape[2]; index[2]++, offset++) {
          if (labels[offset]) visit(index, labels[offset]);
        }
      }
    }
  }
}

function closest(places, centre) {
  let [best, least] = [null, Infinity];
  for (const place of places) {
    const distance = place.reduce((sum, value, axis) => sum + (value - centre[axis]) ** 2, 0);
    if (distance < least) [best, least] = [place, distance];
  }
  return best;
}
