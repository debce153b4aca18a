// Numbers that slices are cut from: planes as they are asked for, at first; the whole volume once the reader moves about,
// so that the server hears of no further move.

import { PLANES } from "./geometry.js";
import { LoadingError, OUTSIDE, fetchVolume, loadVolume } from "./loading.js";

const KEPT = 96; // planes of a source

export class Source {
  // `layers`: volumes that lie behind each other along x. `told` is called when planes have arrived, or with an error.
  // `outside`: the number where there is no brain, which counts as 0.
  constructor({ url, grid, dtype, layers = 1, outside = OUTSIDE }, told) {
    Object.assign(this, { url, grid, dtype, layers, outside, told, planes: new Map(), volume: null, asking: false, failed: null });
  }

  // The values of a plane, column by column; undefined until they have arrived.
  plane(plane, index, layer = 0) {
    return this.planes.get(`${plane}/${index}`)?.[layer];
  }

  // Have these planes ready: at once where the volume is here, else once they have arrived.
  want(plane, indices) {
    const missing = indices.filter((index) => !this.planes.has(`${plane}/${index}`));
    if (!missing.length) return true;
    if (this.volume) {
      for (const index of missing) this.keep(plane, index, this.cut(plane, index));
      return true;
    }
    if (!this.asking && !this.failed) this.ask(plane, missing);
    return false;
  }

  async ask(plane, indices) {
    this.asking = true;
    const { across, up } = PLANES[plane];
    const shape = [this.layers * indices.length, this.grid.shape[across], this.grid.shape[up]];
    const address = `${this.url}&plane=${plane}&at=${indices.join(",")}`;
    await this.met(async () => {
      const { data, scale } = await fetchVolume({ url: address, shape, dtype: this.dtype, scale: null }, () => {});
      const size = shape[1] * shape[2];
      indices.forEach((index, i) => {
        const parts = Array.from({ length: this.layers }, (_, layer) => {
          const start = (layer * indices.length + i) * size;
          return Float32Array.from(data.subarray(start, start + size), (value) => (value === this.outside ? 0 : value * scale));
        });
        this.keep(plane, index, parts);
      });
    });
    this.asking = false;
    this.told();
  }

  async load() {
    if (this.volume || this.failed) return;
    const [x, y, z] = this.grid.shape;
    const shape = [this.layers * x, y, z];
    await this.met(async () => {
      this.volume = await loadVolume({ url: this.url, shape, dtype: this.dtype, scale: null }, () => {});
    });
    this.told();
  }

  async met(act) {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof LoadingError)) console.error(error);
      this.failed = error;
    }
  }

  // With a new address, as the old one ends after ten minutes.
  renew(url) {
    if (url === this.url) return;
    this.url = url;
    this.failed = null;
  }

  keep(plane, index, parts) {
    if (this.planes.size >= KEPT) this.planes.delete(this.planes.keys().next().value);
    this.planes.set(`${plane}/${index}`, parts);
  }

  cut(plane, index) {
    const { axis, across, up } = PLANES[plane];
    const { shape, strides, size } = this.grid;
    const { data, scale } = this.volume;
    return Array.from({ length: this.layers }, (_, layer) => {
      const out = new Float32Array(shape[across] * shape[up]);
      let place = 0;
      for (let column = 0; column < shape[across]; column++) {
        let offset = layer * size + index * strides[axis] + column * strides[across];
        for (let row = 0; row < shape[up]; row++, place++, offset += strides[up]) {
          out[place] = data[offset] === this.outside ? 0 : data[offset] * scale;
        }
      }
      return out;
    });
  }
}

// The planes on either side of a place in mm, and the weight of the second: of the nearest alone where not smooth.
export function neighbours(grid, axis, mm, smooth) {
  const last = grid.shape[axis] - 1;
  const place = Math.min(Math.max(grid.place(axis, mm), 0), last);
  if (!smooth) return { low: Math.floor(place + 0.5), high: Math.floor(place + 0.5), weight: 0 };
  const low = Math.floor(place);
  return { low, high: Math.min(low + 1, last), weight: place - low };
}

// Have ready what cuts at some places in mm need.
export function wantAt(source, plane, positions, smooth) {
  const { axis } = PLANES[plane];
  const wanted = new Set();
  for (const mm of positions) {
    const { low, high, weight } = neighbours(source.grid, axis, mm, smooth);
    wanted.add(low);
    if (weight > 0) wanted.add(high);
  }
  return source.want(plane, [...wanted].sort((a, b) => a - b));
}

// The values of a plane at a place in mm, between those on either side of it.
export function cutAt(source, plane, mm, smooth, layer = 0) {
  const { low, high, weight } = neighbours(source.grid, PLANES[plane].axis, mm, smooth);
  const below = source.plane(plane, low, layer);
  if (weight === 0) return below;
  const above = source.plane(plane, high, layer);
  const between = new Float32Array(below.length);
  for (let i = 0; i < below.length; i++) between[i] = below[i] + (above[i] - below[i]) * weight;
  return between;
}
