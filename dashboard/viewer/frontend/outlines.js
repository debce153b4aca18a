// Borders of regions in a plane, as a path in lattice indices (column, row from the top); and that of the truth.

import { Field } from "./fields.js";
import { PLANES } from "./geometry.js";

const NO_BRAIN = 255; // in the volume of the truth

// Through each square of four voxels: a line between the two sides where the region changes, or from the middle to each.
export function outline(labels, width, height, only) {
  const path = new Path2D();
  const kind = only === null ? (label) => label : (label) => (label === only ? 1 : 0);
  for (let row = 0; row + 1 < height; row++) {
    for (let column = 0; column + 1 < width; column++) {
      const at = row * width + column;
      const [a, b] = [kind(labels[at]), kind(labels[at + 1])];
      const [c, d] = [kind(labels[at + width]), kind(labels[at + width + 1])];
      if (a === b && c === d && a === c) continue;
      const ends = [];
      if (a !== b) ends.push([column + 0.5, row]);
      if (b !== d) ends.push([column + 1, row + 0.5]);
      if (c !== d) ends.push([column + 0.5, row + 1]);
      if (a !== c) ends.push([column, row + 0.5]);
      if (ends.length === 2) {
        path.moveTo(...ends[0]);
        path.lineTo(...ends[1]);
        continue;
      }
      for (const end of ends) {
        path.moveTo(column + 0.5, row + 0.5);
        path.lineTo(...end);
      }
    }
  }
  return path;
}

export class Outlines {
  constructor(lattice) {
    this.lattice = lattice;
    this.kept = new Map();
  }

  // The path of one region, or of all (region null), in a plane.
  path(plane, index, region) {
    const kept = this.kept.get(plane);
    if (kept?.index === index && kept.region === region) return kept.path;
    const labels = this.lattice.labelSlice(plane, index);
    const path = outline(labels, this.lattice.width(plane), this.lattice.height(plane), region);
    this.kept.set(plane, { index, region, path });
    return path;
  }
}

// The border of what was imposed on a simulated brain: where at least half of a voxel of the lattice is inside.
export class TruthOutline {
  constructor(data, grid, lattice) {
    this.lattice = lattice;
    this.field = new Field(data, grid, NO_BRAIN, lattice.grid);
    this.values = new Map();
    this.kept = new Map();
  }

  // 1 inside, 0 outside, row 0 at the top.
  inside(plane, index, smooth) {
    const size = this.lattice.width(plane) * this.lattice.height(plane);
    const values = this.values.get(plane) ?? new Float32Array(size);
    this.values.set(plane, values);
    this.field.slice(plane, index, this.lattice.labelSlice(plane, index), values, { smooth });
    return Uint8Array.from(values, (value) => (value >= 0.5 ? 1 : 0));
  }

  path(plane, index, smooth) {
    const kept = this.kept.get(plane);
    if (kept?.index === index && kept.smooth === smooth) return kept.path;
    const marks = this.inside(plane, index, smooth);
    const path = outline(marks, this.lattice.width(plane), this.lattice.height(plane), null);
    this.kept.set(plane, { index, smooth, path });
    return path;
  }

  // Lattice voxels inside, in a plane through the crosshair.
  area(plane, cursor, smooth) {
    return this.inside(plane, cursor[PLANES[plane].axis], smooth).reduce((sum, one) => sum + one, 0);
  }
}
