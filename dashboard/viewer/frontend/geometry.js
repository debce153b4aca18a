// Grids, planes, and where on a canvas a voxel is drawn. All grids are RAS+: x to the right, y forward, z up.

export const PLANES = {
  coronal: { axis: 1, across: 0, up: 2 },
  sagittal: { axis: 0, across: 1, up: 2 },
  axial: { axis: 2, across: 0, up: 1 },
};
export const AXES = ["x", "y", "z"];
export const ENDS = [["L", "R"], ["P", "A"], ["I", "S"]];
export const MARGIN_MM = 8; // black around the brain, where the letters stand

export class Grid {
  constructor(shape, origin, step) {
    this.shape = shape;
    this.origin = origin;
    this.step = step;
    this.strides = [shape[1] * shape[2], shape[2], 1];
    this.size = shape[0] * shape[1] * shape[2];
  }

  static of({ shape, affine }) {
    return new Grid(shape, [0, 1, 2].map((a) => affine[a][3]), [0, 1, 2].map((a) => affine[a][a]));
  }

  mm(axis, index) {
    return this.origin[axis] + this.step[axis] * index;
  }

  place(axis, mm) {
    return (mm - this.origin[axis]) / this.step[axis];
  }

  nearest(axis, mm) {
    return Math.floor(this.place(axis, mm) + 0.5);
  }

  clamped(axis, mm) {
    return Math.min(Math.max(this.nearest(axis, mm), 0), this.shape[axis] - 1);
  }

  offset(index) {
    return index[0] * this.strides[0] + index[1] * this.strides[1] + index[2];
  }

  extent(axis) {
    return this.shape[axis] * this.step[axis];
  }
}

// Where a plane of the lattice lies in a rectangle of a canvas: the whole plane at one scale, in the middle, or a part.
export class Placement {
  // `zoom`: times the whole plane, around `centre` in mm.
  constructor(grid, plane, rect, { convention, zoom = 1, centre = null }, pixelsPerMm = null) {
    const { across, up } = PLANES[plane];
    this.grid = grid;
    this.across = across;
    this.up = up;
    this.flip = convention === "radiological" && across === 0;
    const width = grid.extent(across);
    const height = grid.extent(up);
    const whole = pixelsPerMm ?? Math.min(rect.width / (width + 2 * MARGIN_MM), rect.height / (height + 2 * MARGIN_MM));
    this.scale = whole * zoom;
    this.half = [rect.width / 2, rect.height / 2];
    this.middle = [rect.x + rect.width / 2, rect.y + rect.height / 2];
    this.width = width * this.scale;
    this.height = height * this.scale;
    this.left = rect.x + (rect.width - this.width) / 2;
    this.top = rect.y + (rect.height - this.height) / 2;
    if (zoom !== 1 && centre) {
      this.left += this.middle[0] - this.x(grid.place(across, centre[across]));
      this.top += this.middle[1] - this.y(grid.place(up, centre[up]));
    }
  }

  x(index) {
    const from = (index + 0.5) * this.grid.step[this.across] * this.scale;
    return this.flip ? this.left + this.width - from : this.left + from;
  }

  y(index) {
    return this.top + this.height - (index + 0.5) * this.grid.step[this.up] * this.scale;
  }

  // Fractional lattice indices of a point of the canvas.
  indices(x, y) {
    const along = this.flip ? this.left + this.width - x : x - this.left;
    return [
      along / (this.scale * this.grid.step[this.across]) - 0.5,
      (this.top + this.height - y) / (this.scale * this.grid.step[this.up]) - 0.5,
    ];
  }
}

// The 1 mm template: its grey values, and the region of each voxel (0 outside the brain).
export class Lattice {
  constructor(grid, brain, labels) {
    this.grid = grid;
    this.brain = brain;
    this.labels = labels;
    this.slices = new Map();
    this.largestLabel = largest(labels);
    this.brightest = Math.max(largest(brain), 1);
  }

  width(plane) {
    return this.grid.shape[PLANES[plane].across];
  }

  height(plane) {
    return this.grid.shape[PLANES[plane].up];
  }

  // Values of one plane, row 0 at the top.
  take(source, plane, index, out) {
    const { axis, across, up } = PLANES[plane];
    const { strides } = this.grid;
    const [width, height] = [this.width(plane), this.height(plane)];
    let pixel = 0;
    for (let row = height - 1; row >= 0; row--) {
      let offset = index * strides[axis] + row * strides[up];
      for (let column = 0; column < width; column++, offset += strides[across]) out[pixel++] = source[offset];
    }
    return out;
  }

  labelSlice(plane, index) {
    const kept = this.slices.get(plane);
    if (kept?.index === index) return kept.labels;
    const labels = kept?.labels ?? new this.labels.constructor(this.width(plane) * this.height(plane));
    this.slices.set(plane, { index, labels: this.take(this.labels, plane, index, labels) });
    return labels;
  }
}

function largest(values) {
  let most = 0;
  for (let i = 0; i < values.length; i++) if (values[i] > most) most = values[i];
  return most;
}
