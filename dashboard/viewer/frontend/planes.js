// A plane that can be touched: mouse, wheel, keys and fingers move the crosshair that all planes share.

import { element, fit, sizedCanvas } from "./dom.js";
import { AXES, MARGIN_MM, PLANES } from "./geometry.js";
import { paintPlane } from "./paint.js";
import { whole } from "./words.js";

const REACH = 40; // pixels: a finger this near to the crosshair drags it, elsewhere it scrolls the page
const TAP = 8; // pixels a finger may move in a tap
const FAR = 10; // steps with the shift key
const NOTCH = 40; // of a wheel, for one slice

export class PlaneView {
  // `plane` and `map` are functions: what is shown may change.
  constructor(viewer, { plane, map, small = false }) {
    Object.assign(this, { viewer, plane, map, small, dragging: false, turned: 0 });
    const surface = sizedCanvas({ className: "plane", tabIndex: 0, role: "application" }, () => viewer.redraw());
    Object.assign(this, surface);
    this.listen();
  }

  listen() {
    const on = (type, act, options) => this.canvas.addEventListener(type, act.bind(this), options);
    on("pointerdown", this.press);
    on("pointermove", this.drag);
    on("pointerup", this.release);
    on("pointercancel", () => (this.dragging = false));
    on("touchstart", this.touch, { passive: false });
    on("wheel", this.turn, { passive: false });
    on("keydown", this.key);
    on("dblclick", () => this.viewer.goToStrongest());
  }

  size() {
    return fit(this, this.viewer.hurried ? 1 : 2);
  }

  // Pixels a mm that would just fit.
  fitting(rect) {
    const { across, up } = PLANES[this.plane()];
    const { grid } = this.viewer.scene.lattice;
    const [width, height] = [grid.extent(across) + 2 * MARGIN_MM, grid.extent(up) + 2 * MARGIN_MM];
    return Math.min(rect.width / width, rect.height / height);
  }

  paint(rect) {
    const { viewer } = this;
    const [plane, map] = [this.plane(), this.map()];
    const look = map && viewer.look(map);
    const { scene, index: cursor, view } = viewer;
    // Painted over alone, the last pixels of a width that is not whole would keep a part of what was there before.
    this.context.clearRect(0, 0, rect.width + 1, rect.height + 1);
    this.placement = paintPlane(this.context, rect, plane, { scene, cursor, map, look, view, small: this.small });
    const { axis } = PLANES[plane];
    const where = `${AXES[axis]} ${whole(scene.lattice.grid.mm(axis, cursor[axis]))} mm`;
    const label = `${plane} plane${map ? `, ${map.entry.title}` : ""}, ${where}. Press ? for the keys.`;
    if (this.canvas.ariaLabel !== label) this.canvas.ariaLabel = label;
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  moveTo(event) {
    if (!this.placement) return;
    const { across, up } = PLANES[this.plane()];
    const [u, v] = this.placement.indices(...this.point(event));
    const index = [...this.viewer.index];
    [index[across], index[up]] = [Math.floor(u + 0.5), Math.floor(v + 0.5)];
    this.viewer.moveTo(index);
  }

  isNearCrosshair(event) {
    if (!this.placement) return false;
    const { across, up } = PLANES[this.plane()];
    const [x, y] = this.point(event);
    const { index } = this.viewer;
    return Math.hypot(x - this.placement.x(index[across]), y - this.placement.y(index[up])) <= REACH;
  }

  touch(event) {
    if (event.touches.length === 1 && this.isNearCrosshair(event.touches[0])) event.preventDefault();
  }

  press(event) {
    if (event.button !== 0) return;
    this.pressed = [event.clientX, event.clientY];
    if (event.pointerType === "touch" && !this.isNearCrosshair(event)) return;
    this.dragging = true;
    try {
      this.canvas.setPointerCapture(event.pointerId);
    } catch {
      // The pointer is gone already.
    }
    this.canvas.focus({ preventScroll: true });
    this.moveTo(event);
  }

  drag(event) {
    if (this.dragging) this.moveTo(event);
  }

  release(event) {
    const [x, y] = this.pressed ?? [event.clientX, event.clientY];
    if (!this.dragging && Math.hypot(event.clientX - x, event.clientY - y) < TAP) this.moveTo(event);
    this.dragging = false;
  }

  turn(event) {
    if (event.ctrlKey || event.deltaY === 0) return;
    event.preventDefault();
    this.turned += event.deltaMode === 0 ? event.deltaY : event.deltaY * NOTCH;
    const steps = Math.trunc(this.turned / NOTCH);
    this.turned -= steps * NOTCH;
    if (steps) this.step(PLANES[this.plane()].axis, -steps);
  }

  step(axis, steps) {
    const index = [...this.viewer.index];
    index[axis] += steps;
    this.viewer.moveTo(index);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { axis, across, up } = PLANES[this.plane()];
    const far = event.shiftKey ? FAR : 1;
    const right = this.placement?.flip ? -far : far;
    const moves = {
      ArrowRight: [across, right], ArrowLeft: [across, -right], ArrowUp: [up, far], ArrowDown: [up, -far],
      PageUp: [axis, far], PageDown: [axis, -far],
    };
    if (moves[event.key]) this.step(...moves[event.key]);
    else if (event.key === "0") this.viewer.goToStrongest();
    else if (event.key === "?") this.viewer.help();
    else return;
    event.preventDefault();
  }
}

// The three planes side by side, each over its profile.
export function planeFigure(view, strip) {
  return element("figure", { className: `view ${view.plane()}` }, view.canvas, strip.canvas);
}
