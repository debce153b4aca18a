// How much of the brain all planes show, and around which point: one zoom for all of them, as one crosshair.

import { PLANES } from "./geometry.js";

const MOST = 10;
const STEP = 1.4; // of a button or key

export class Zoom {
  constructor(viewer) {
    this.viewer = viewer;
  }

  get factor() {
    return this.viewer.view.zoom;
  }

  get centre() {
    return this.viewer.view.centre ?? this.viewer.mm;
  }

  // Keep the point of a plane where it is on the canvas while all grows.
  at(view, [x, y], ratio) {
    const { placement } = view;
    if (!placement) return;
    const factor = Math.min(Math.max(this.factor * ratio, 1), MOST);
    if (factor < 1.01) return this.reset();
    const centre = [...this.centre];
    const scale = (placement.scale * factor) / this.factor;
    const { across, up } = PLANES[view.plane()];
    const [u, v] = placement.indices(x, y);
    const { grid } = this.viewer.scene.lattice;
    const side = placement.flip ? -1 : 1;
    centre[across] = grid.mm(across, u) - (side * (x - placement.middle[0])) / scale;
    centre[up] = grid.mm(up, v) + (y - placement.middle[1]) / scale;
    this.use(factor, centre);
  }

  // By a button or key: around the crosshair.
  step(direction) {
    const factor = Math.min(Math.max(this.factor * STEP ** direction, 1), MOST);
    if (factor < 1.01) this.reset();
    else this.use(factor, this.viewer.view.centre ?? this.viewer.mm);
  }

  pan(view, dx, dy) {
    const { placement } = view;
    if (!placement || this.factor === 1) return;
    const centre = [...this.centre];
    const { across, up } = PLANES[view.plane()];
    centre[across] -= ((placement.flip ? -1 : 1) * dx) / placement.scale;
    centre[up] += dy / placement.scale;
    this.use(this.factor, centre);
  }

  // The middle stays within the brain's box, so that it is never lost.
  use(factor, centre) {
    if (!this.viewer.scene) return;
    const { grid } = this.viewer.scene.lattice;
    const within = centre.map((mm, axis) => {
      const inside = Math.min(Math.max(mm, grid.mm(axis, 0)), grid.mm(axis, grid.shape[axis] - 1));
      return Math.round(100 * inside) / 100;
    });
    this.viewer.set({ zoom: Math.round(100 * factor) / 100, centre: within });
  }

  reset() {
    if (this.factor !== 1 || this.viewer.view.centre) this.viewer.set({ zoom: 1, centre: null });
  }

  // Bring the crosshair back into sight where it has left a plane.
  follow() {
    const { view, mm, planes } = this.viewer;
    if (view.zoom === 1 || !view.centre) return;
    const centre = [...view.centre];
    for (const { placement, plane } of planes) {
      if (!placement) continue;
      const { across, up } = PLANES[plane()];
      [across, up].forEach((axis, i) => {
        if (Math.abs(mm[axis] - centre[axis]) > placement.half[i] / placement.scale) centre[axis] = mm[axis];
      });
    }
    view.centre = centre;
  }
}
