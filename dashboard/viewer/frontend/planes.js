// A plane that can be touched: mouse, wheel, keys and fingers move the crosshair that all planes share.

import { element, fit, sizedCanvas } from "./dom.js";
import { AXES, MARGIN_MM, PLANES } from "./geometry.js";
import { paintPlane } from "./paint.js";
import { whole } from "./words.js";

const REACH = 40; // pixels: a finger this near to the crosshair drags it, elsewhere it scrolls the page
const TAP = 8; // pixels a finger may move in a tap
const FAR = 10; // steps with the shift key
const NOTCH = 40; // of a wheel, for one slice
const WHEEL_ZOOM = 0.004; // of a wheel with ctrl, and of two fingers on a touchpad: growth for each pixel that it turns

export class PlaneView {
  // `plane` and `map` are functions: what is shown may change.
  constructor(viewer, { plane, map, small = false }) {
    Object.assign(this, { viewer, plane, map, small, dragging: false, turned: 0, fingers: new Map() });
    const surface = sizedCanvas({ className: "plane", tabIndex: 0, role: "application" }, () => viewer.redraw());
    Object.assign(this, surface);
    this.listen();
  }

  listen() {
    const on = (type, act, options) => this.canvas.addEventListener(type, act.bind(this), options);
    on("pointerdown", this.press);
    on("pointermove", this.drag);
    on("pointerup", this.release);
    on("pointercancel", this.cancel);
    on("contextmenu", (event) => this.viewer.view.zoom > 1 && event.preventDefault());
    on("touchstart", this.touch, { passive: false });
    on("wheel", this.turn, { passive: false });
    on("keydown", this.key);
    on("dblclick", () => this.viewer.home());
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
    const held = this.viewer.hand && this.viewer.zoom.factor > 1;
    if (event.touches.length > 1 || held || this.isNearCrosshair(event.touches[0])) event.preventDefault();
  }

  // Two fingers zoom and move the picture, as do the middle and the right button or the hand.
  press(event) {
    if (event.pointerType === "touch") this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    const pans = event.button !== 0 || (this.viewer.hand && this.viewer.zoom.factor > 1);
    if (this.fingers.size > 1 || pans) {
      if (event.button === 1) event.preventDefault();
      this.dragging = false;
      this.pressed = null;
      this.grip = this.fingers.size > 1 ? null : [event.clientX, event.clientY];
      this.capture(event);
      return;
    }
    this.pressed = [event.clientX, event.clientY];
    if (event.pointerType === "touch" && !this.isNearCrosshair(event)) return;
    this.dragging = true;
    this.capture(event);
    this.canvas.focus({ preventScroll: true });
    this.moveTo(event);
  }

  capture(event) {
    try {
      this.canvas.setPointerCapture(event.pointerId);
    } catch {
      // The pointer is gone already.
    }
  }

  drag(event) {
    if (this.fingers.size > 1) this.pinch(event);
    else if (this.grip) {
      const [x, y] = this.grip;
      this.grip = [event.clientX, event.clientY];
      this.viewer.zoom.pan(this, event.clientX - x, event.clientY - y);
    } else if (this.dragging) this.moveTo(event);
  }

  pinch(event) {
    if (!this.fingers.has(event.pointerId)) return;
    const before = spread([...this.fingers.values()]);
    this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    const after = spread([...this.fingers.values()]);
    this.viewer.zoom.pan(this, after.x - before.x, after.y - before.y);
    if (before.size > 0) this.viewer.zoom.at(this, this.point({ clientX: after.x, clientY: after.y }), after.size / before.size);
  }

  cancel(event) {
    this.fingers.delete(event.pointerId);
    this.dragging = false;
    this.grip = this.pressed = null;
  }

  release(event) {
    const apart = this.grip || this.fingers.size > 1 || !this.pressed;
    this.fingers.delete(event.pointerId);
    this.grip = null;
    if (apart) {
      this.dragging = false;
      return;
    }
    const [x, y] = this.pressed;
    if (!this.dragging && Math.hypot(event.clientX - x, event.clientY - y) < TAP) this.moveTo(event);
    this.dragging = false;
  }

  turn(event) {
    if (event.deltaY === 0) return;
    event.preventDefault();
    const turned = event.deltaMode === 0 ? event.deltaY : event.deltaY * NOTCH;
    if (event.ctrlKey || event.metaKey) return this.viewer.zoom.at(this, this.point(event), Math.exp(-turned * WHEEL_ZOOM));
    this.turned += turned;
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
    else if (event.key === "0") this.viewer.home();
    else if (event.key === "+" || event.key === "=") this.viewer.zoom.step(1);
    else if (event.key === "-") this.viewer.zoom.step(-1);
    else if (event.key === "h") this.viewer.useHand();
    else if (event.key === "?") this.viewer.help();
    else return;
    event.preventDefault();
  }
}

// The middle of two fingers, and how far they are apart.
function spread([[x, y], [u, v]]) {
  return { x: (x + u) / 2, y: (y + v) / 2, size: Math.hypot(u - x, v - y) };
}

// The three planes side by side, each over its profile.
export function planeFigure(view, strip) {
  return element("figure", { className: `view ${view.plane()}` }, view.canvas, strip.canvas);
}
