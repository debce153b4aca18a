// How relevance is spread over the brain: how many voxels have at most each size, the sum, and its profile along each axis.
// Loops over all voxels of a volume, each over arrays of one kind and without a closure: several times as quick.

import { OUTSIDE } from "./loading.js";

const LARGEST = 32767;

class Spread {
  constructor(shape) {
    this.counts = new Uint32Array(LARGEST + 1); // by |h|, of the brain's voxels
    this.profiles = shape.map((size) => new Float64Array(size)); // sums of m
    this.along = this.profiles[2];
    this.sum = 0;
  }

  // Counts a voxel at k of the last axis; returns its m.
  add(value, k, positiveOnly) {
    const size = value < 0 ? -value : value;
    this.counts[size]++;
    const m = positiveOnly && value < 0 ? 0 : size;
    this.along[k] += m;
    return m;
  }

  endLine(i, j, sum) {
    this.profiles[0][i] += sum;
    this.profiles[1][j] += sum;
    this.sum += sum;
  }
}

// Of the integers of a volume on its own grid. `positiveOnly`: m is max(h, 0), else |h|.
export function ofVolume(data, { shape }, positiveOnly) {
  const spread = new Spread(shape);
  let offset = 0;
  for (let i = 0; i < shape[0]; i++) {
    for (let j = 0; j < shape[1]; j++) {
      let line = 0;
      for (let k = 0; k < shape[2]; k++, offset++) {
        if (data[offset] !== OUTSIDE) line += spread.add(data[offset], k, positiveOnly);
      }
      spread.endLine(i, j, line);
    }
  }
  return spread;
}

// Of a coarser volume, as the lattice's voxels of the brain see it; `places`: of each axis, lattice index -> own index.
export function ofBlocks(data, { strides }, places, { labels, grid }, positiveOnly) {
  const spread = new Spread(grid.shape);
  const [x, y, z] = places;
  let offset = 0;
  for (let i = 0; i < grid.shape[0]; i++) {
    for (let j = 0; j < grid.shape[1]; j++) {
      const first = x[i] * strides[0] + y[j] * strides[1];
      let line = 0;
      for (let k = 0; k < grid.shape[2]; k++, offset++) {
        if (labels[offset] === 0) continue;
        const value = data[first + z[k]];
        if (value !== OUTSIDE) line += spread.add(value, k, positiveOnly);
      }
      spread.endLine(i, j, line);
    }
  }
  return spread;
}

// Of one number a region, in stored units, by label.
export function ofRegions(values, { labels, grid }, positiveOnly) {
  const spread = new Spread(grid.shape);
  const { counts } = spread;
  const along = spread.profiles[2];
  const bins = Uint16Array.from(values, (value) => Math.min(Math.round(Math.abs(value)), LARGEST));
  const sizes = Float64Array.from(values, (value) => (positiveOnly ? Math.max(value, 0) : Math.abs(value)));
  let offset = 0;
  for (let i = 0; i < grid.shape[0]; i++) {
    for (let j = 0; j < grid.shape[1]; j++) {
      let line = 0;
      for (let k = 0; k < grid.shape[2]; k++, offset++) {
        const label = labels[offset];
        if (label === 0) continue;
        counts[bins[label]]++;
        along[k] += sizes[label];
        line += sizes[label];
      }
      spread.endLine(i, j, line);
    }
  }
  return spread;
}
