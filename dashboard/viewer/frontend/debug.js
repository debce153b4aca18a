// A read-only handle for tests and measurements.

import { agreeing } from "./agreement.js";
import { PLANES } from "./geometry.js";

export function handle(viewer) {
  const view = (plane) => viewer.planes.find((one) => one.plane() === plane);
  return Object.freeze({
    get state() {
      return { ...viewer.view, mm: viewer.scene ? viewer.mm : null, region: viewer.scene ? viewer.regionName : null };
    },
    get ready() {
      return viewer.root.dataset.state === "ready" && !viewer.waiting && viewer.maps.every(({ map }) => map);
    },
    value: (method) => viewer.maps.find(({ entry }) => entry.method === method)?.map?.valueAt(viewer.index) ?? null,
    threshold: (method) => {
      const { map } = viewer.maps.find(({ entry }) => entry.method === method);
      const look = viewer.look(map);
      return { value: look.threshold * look.factor, top: look.top * look.factor, unit: look.unit };
    },
    // Lattice voxels inside the outline of the truth in a plane; null where it is not shown.
    truth: (plane) => (viewer.view.truth ? (viewer.scene?.truth?.area(plane, viewer.index, viewer.view.smooth) ?? null) : null),
    // Where a position is drawn, in CSS pixels of the page.
    point: (plane, mm) => {
      const { placement, canvas } = view(plane);
      const { grid } = viewer.scene.lattice;
      const { across, up } = PLANES[plane];
      const box = canvas.getBoundingClientRect();
      return [box.left + placement.x(grid.place(across, mm[across])), box.top + placement.y(grid.place(up, mm[up]))];
    },
    // The colour there, [r, g, b].
    pixel: (plane, mm) => {
      const { canvas, context } = view(plane);
      const box = canvas.getBoundingClientRect();
      const [x, y] = root(viewer).point(plane, mm);
      const ratio = canvas.width / box.width;
      return [...context.getImageData(Math.floor((x - box.left) * ratio), Math.floor((y - box.top) * ratio), 1, 1).data].slice(0, 3);
    },
    // How many networks agree under the crosshair; null where that is not shown.
    agreeing: (method) => agreeing(viewer.maps.find(({ entry }) => entry.method === method)?.map, viewer.index),
    removed: (method) => viewer.maps.find(({ entry }) => entry.method === method).map.removed?.reduce((a, b) => a + b, 0) ?? 0,
    // Lattice pixels inside the outlines of the second map and of a dropped file, in a plane; and the file's value.
    outlined: (plane) => viewer.second.outlined().map(({ words, slice, threshold }) => {
      const { lattice } = viewer.scene;
      const out = new Float32Array(lattice.width(plane) * lattice.height(plane));
      const index = viewer.index[PLANES[plane].axis];
      slice(plane, index, lattice.labelSlice(plane, index), out);
      return { words, threshold, area: out.reduce((sum, value) => sum + (Math.abs(value) > threshold ? 1 : 0), 0) };
    }),
    fileValue: () => viewer.second.file?.valueAt(viewer.index) ?? null,
    measure: (kind, frames) => measure(viewer, kind, frames),
  });
}

function root(viewer) {
  return viewer.root.__viewer;
}

// Frames a second and ms of drawing, while a crosshair or the threshold is dragged through its range.
async function measure(viewer, kind, frames) {
  const { shape } = viewer.scene.lattice.grid;
  const started = performance.now();
  const [times, gaps] = [[], []];
  let last = await nextFrame();
  for (let i = 0; i < frames; i++) {
    const turn = (i / frames) * 2 * Math.PI;
    if (kind === "threshold") viewer.set({ threshold: Math.round(10 * (50 + 49 * Math.sin(turn))) / 10 });
    else viewer.moveTo(shape.map((size, axis) => Math.round(size * (0.5 + 0.3 * Math.sin(turn + axis)))));
    const now = await nextFrame(); // the viewer has drawn in this frame, as its request was first
    times.push(viewer.drawMs);
    gaps.push(now - last);
    last = now;
  }
  const sorted = (list) => [...list].sort((a, b) => a - b);
  const quantile = (list, q) => sorted(list)[Math.floor(q * (list.length - 1))];
  const seconds = (performance.now() - started) / 1000;
  return {
    framesPerSecond: frames / seconds,
    drawMedian: quantile(times, 0.5), draw95: quantile(times, 0.95),
    gapMedian: quantile(gaps, 0.5), gap95: quantile(gaps, 0.95),
  };
}

function nextFrame() {
  return new Promise((resolve) => requestAnimationFrame(resolve));
}
