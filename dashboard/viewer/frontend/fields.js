// A volume on a grid of its own, drawn on the 1 mm lattice: trilinear among brain voxels, or the nearest voxel.

import { PLANES } from "./geometry.js";

export const SIGNED = 0;
export const ABSOLUTE = 1;
export const POSITIVE = 2;

// For each index of the lattice along an axis: the voxel it lies in (-1: none), its neighbours and their weight.
function axisTable(lattice, axis, grid, voxelOf) {
  const size = lattice.shape[axis];
  const last = grid.shape[axis] - 1;
  const table = {
    nearest: new Int32Array(size),
    low: new Int32Array(size),
    high: new Int32Array(size),
    weight: new Float32Array(size),
  };
  for (let i = 0; i < size; i++) {
    const mm = lattice.mm(axis, i);
    const place = Math.min(Math.max(grid.place(axis, mm), 0), last);
    table.nearest[i] = voxelOf(axis, mm);
    table.low[i] = Math.min(Math.floor(place), Math.max(last - 1, 0));
    table.high[i] = Math.min(table.low[i] + 1, last);
    table.weight[i] = place - table.low[i];
  }
  return table;
}

// Positions: block k is [stride k - stride/2, stride k + stride/2) in voxels of the working grid, the last takes the rest.
export function blockOf(working, shape, stride) {
  return (axis, mm) =>
    Math.min(Math.max(Math.floor((2 * working.nearest(axis, mm) + stride) / (2 * stride)), 0), shape[axis] - 1);
}

function voxelOf(grid) {
  return (axis, mm) => {
    const index = grid.nearest(axis, mm);
    return index >= 0 && index < grid.shape[axis] ? index : -1;
  };
}

export class Field {
  constructor(data, grid, outside, lattice, ownVoxel = voxelOf(grid)) {
    this.data = data;
    this.grid = grid;
    this.outside = outside;
    this.tables = [0, 1, 2].map((axis) => axisTable(lattice, axis, grid, ownVoxel));
    this.aligned = this.tables.every(({ weight }) => weight.every((w) => w < 1e-6 || w > 1 - 1e-6));
    this.scratch = new Map();
  }

  // Offset of the voxel that holds a lattice voxel; -1 where there is none.
  offsetAt(index) {
    let offset = 0;
    for (let axis = 0; axis < 3; axis++) {
      const own = this.tables[axis].nearest[index[axis]];
      if (own < 0) return -1;
      offset += own * this.grid.strides[axis];
    }
    return offset;
  }

  // Values of a plane into `out`, 0 outside the brain. `removed` marks voxels that are held within +-limit.
  slice(plane, index, labels, out, { smooth = true, mode = SIGNED, removed = null, limit = 0 } = {}) {
    const read = { mode, removed, limit };
    if (smooth && !this.aligned) this.interpolate(plane, index, labels, out, read);
    else this.pick(plane, index, labels, out, read);
    return out;
  }

  value(offset, { mode, removed, limit }) {
    let value = this.data[offset];
    if (mode === ABSOLUTE) value = Math.abs(value);
    else if (mode === POSITIVE && value < 0) value = 0;
    if (removed !== null && removed[offset]) value = value > limit ? limit : value < -limit ? -limit : value;
    return value;
  }

  pick(plane, index, labels, out, read) {
    const { axis, across, up } = PLANES[plane];
    const [columns, rows] = [this.tables[across].nearest, this.tables[up].nearest];
    const [step, rise] = [this.grid.strides[across], this.grid.strides[up]];
    const own = this.tables[axis].nearest[index];
    const start = own * this.grid.strides[axis];
    let pixel = 0;
    for (let row = rows.length - 1; row >= 0; row--) {
      const base = start + rows[row] * rise;
      const empty = own < 0 || rows[row] < 0;
      for (let column = 0; column < columns.length; column++, pixel++) {
        const offset = base + columns[column] * step;
        const nothing = empty || labels[pixel] === 0 || columns[column] < 0 || this.data[offset] === this.outside;
        out[pixel] = nothing ? 0 : this.value(offset, read);
      }
    }
  }

  interpolate(plane, index, labels, out, read) {
    const { axis, across, up } = PLANES[plane];
    const [columns, rows] = [this.tables[across], this.tables[up]];
    const { sums, weights } = this.between(plane, this.tables[axis], index, read);
    const width = this.grid.shape[across];
    let pixel = 0;
    for (let row = rows.low.length - 1; row >= 0; row--) {
      const [below, above, v] = [rows.low[row] * width, rows.high[row] * width, rows.weight[row]];
      for (let column = 0; column < columns.low.length; column++, pixel++) {
        if (labels[pixel] === 0) {
          out[pixel] = 0;
          continue;
        }
        const [left, right, u] = [columns.low[column], columns.high[column], columns.weight[column]];
        const [a, b, c, d] = [(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v];
        const weight =
          a * weights[below + left] + b * weights[below + right] + c * weights[above + left] + d * weights[above + right];
        const sum = a * sums[below + left] + b * sums[below + right] + c * sums[above + left] + d * sums[above + right];
        out[pixel] = weight > 1e-6 ? sum / weight : 0;
      }
    }
  }

  // The own plane at a fractional index: weighted sums of brain voxels, and the weights.
  between(plane, table, index, read) {
    const { axis, across, up } = PLANES[plane];
    const { shape, strides } = this.grid;
    const kept = this.scratch.get(plane) ?? {
      sums: new Float32Array(shape[across] * shape[up]),
      weights: new Float32Array(shape[across] * shape[up]),
    };
    this.scratch.set(plane, kept);
    const [first, second, w] = [table.low[index], table.high[index], table.weight[index]];
    let pixel = 0;
    for (let row = 0; row < shape[up]; row++) {
      for (let column = 0; column < shape[across]; column++, pixel++) {
        const place = row * strides[up] + column * strides[across];
        let [sum, weight] = [0, 0];
        const [one, two] = [first * strides[axis] + place, second * strides[axis] + place];
        if (w < 1 && this.data[one] !== this.outside) {
          sum += (1 - w) * this.value(one, read);
          weight += 1 - w;
        }
        if (w > 0 && this.data[two] !== this.outside) {
          sum += w * this.value(two, read);
          weight += w;
        }
        kept.sums[pixel] = sum;
        kept.weights[pixel] = weight;
      }
    }
    return kept;
  }
}

// One value a region, painted on the labels of the lattice.
export class RegionField {
  constructor(values, lattice) {
    this.values = values; // by label
    this.lattice = lattice;
  }

  slice(plane, index, labels, out, { mode = SIGNED, removed = null, limit = 0 } = {}) {
    const values = this.values.map((v) => (mode === ABSOLUTE ? Math.abs(v) : mode === POSITIVE ? Math.max(v, 0) : v));
    for (let pixel = 0; pixel < labels.length; pixel++) out[pixel] = values[labels[pixel]];
    if (removed !== null) {
      const gone = this.lattice.take(removed, plane, index, new Uint8Array(labels.length));
      for (let pixel = 0; pixel < gone.length; pixel++) {
        if (gone[pixel]) out[pixel] = Math.min(Math.max(out[pixel], -limit), limit);
      }
    }
    return out;
  }
}
