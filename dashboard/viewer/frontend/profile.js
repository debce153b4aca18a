// Relevance per slice along the normal of a plane; dragging on it moves the slice.

import { fit, sizedCanvas } from "./dom.js";
import { AXES, ENDS, PLANES } from "./geometry.js";
import { INK, canvasText } from "./paint.js";
import { three, whole } from "./words.js";

const PAD = 24;
const HEAD = 13; // pixels above the curve, for the number
const FILL = "#6F7C82";
const CURSOR = "rgba(236, 241, 242, 0.9)";

export class ProfileStrip {
  constructor(viewer, plane) {
    Object.assign(this, { viewer, plane, axis: PLANES[plane].axis, dragging: false });
    const properties = { className: "profile", tabIndex: 0, role: "slider" };
    Object.assign(this, sizedCanvas(properties, () => viewer.redraw()));
    this.canvas.ariaOrientation = "horizontal";
    const on = (type, act) => this.canvas.addEventListener(type, act.bind(this));
    on("pointerdown", this.press);
    on("pointermove", (event) => this.dragging && this.moveTo(event));
    on("pointerup", () => (this.dragging = false));
    on("pointercancel", () => (this.dragging = false));
    on("keydown", this.key);
  }

  get grid() {
    return this.viewer.scene.lattice.grid;
  }

  get flip() {
    return this.axis === 0 && this.viewer.view.convention === "radiological";
  }

  ends() {
    const from = this.grid.mm(this.axis, -0.5);
    return [from, from + this.grid.extent(this.axis)];
  }

  x(mm, width) {
    const [from, to] = this.ends();
    const place = ((mm - from) / (to - from)) * (width - 2 * PAD);
    return this.flip ? width - PAD - place : PAD + place;
  }

  press(event) {
    if (event.button !== 0 || !this.viewer.scene) return;
    this.dragging = true;
    this.canvas.setPointerCapture(event.pointerId);
    this.moveTo(event);
  }

  moveTo(event) {
    const box = this.canvas.getBoundingClientRect();
    const [from, to] = this.ends();
    const along = (event.clientX - box.left - PAD) / (box.width - 2 * PAD);
    this.toMm(from + (this.flip ? 1 - along : along) * (to - from));
  }

  toMm(mm) {
    const index = [...this.viewer.index];
    index[this.axis] = this.grid.nearest(this.axis, mm);
    this.viewer.moveTo(index);
  }

  key(event) {
    const far = event.shiftKey ? 10 : 1;
    const right = this.flip ? -far : far;
    const steps = { ArrowRight: right, ArrowLeft: -right, ArrowUp: far, ArrowDown: -far, PageUp: 10, PageDown: -10 };
    const index = [...this.viewer.index];
    if (event.key in steps) index[this.axis] += steps[event.key];
    else if (event.key === "Home") index[this.axis] = 0;
    else if (event.key === "End") index[this.axis] = Infinity;
    else return;
    event.preventDefault();
    this.viewer.moveTo(index);
  }

  paint() {
    const rect = fit(this, this.viewer.hurried ? 1 : 2);
    if (!rect) return;
    this.paintOn(this.context, rect, canvasText(this.context));
    this.describe();
  }

  paintOn(context, rect, text) {
    context.fillStyle = "#000";
    context.fillRect(rect.x, rect.y, rect.width, rect.height);
    const profile = this.viewer.main?.profiles[this.axis];
    if (profile) this.paintCurve(context, rect, profile);
    const mm = this.viewer.mm[this.axis];
    const x = rect.x + Math.round(this.x(mm, rect.width)) + 0.5;
    context.strokeStyle = CURSOR;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x, rect.y + HEAD);
    context.lineTo(x, rect.y + rect.height);
    context.stroke();
    const letters = this.flip ? [...ENDS[this.axis]].reverse() : ENDS[this.axis];
    const bottom = rect.y + rect.height - 3;
    text(letters[0], rect.x + 9, bottom, { size: 10, baseline: "bottom", colour: INK });
    text(letters[1], rect.x + rect.width - 9, bottom, { size: 10, align: "right", baseline: "bottom", colour: INK });
    if (!profile) return;
    const align = x - rect.x > rect.width - 50 ? "right" : x - rect.x < 50 ? "left" : "center";
    const words = `${three(this.at(profile, mm))} % per mm`;
    text(words, x, rect.y + 1, { size: 10.5, align, baseline: "top", colour: INK });
  }

  paintCurve(context, rect, { grid, percentPerMm }) {
    const most = Math.max(...percentPerMm, 1e-30);
    const height = rect.height - HEAD - 2;
    context.fillStyle = FILL;
    context.beginPath();
    const base = rect.y + rect.height;
    context.moveTo(rect.x + this.x(grid.mm(this.axis, 0), rect.width), base);
    percentPerMm.forEach((value, i) => {
      context.lineTo(rect.x + this.x(grid.mm(this.axis, i), rect.width), base - (value / most) * height);
    });
    context.lineTo(rect.x + this.x(grid.mm(this.axis, percentPerMm.length - 1), rect.width), base);
    context.fill();
  }

  at({ grid, percentPerMm }, mm) {
    return percentPerMm[grid.clamped(this.axis, mm)];
  }

  describe() {
    const { canvas } = this;
    const mm = this.viewer.mm[this.axis];
    const profile = this.viewer.main?.profiles[this.axis];
    canvas.ariaLabel = `${AXES[this.axis]} of the ${this.plane} slice, over the relevance of each slice`;
    [canvas.ariaValueMin, canvas.ariaValueMax] = this.ends().map((end) => String(Math.round(end)));
    canvas.ariaValueNow = String(mm);
    const share = profile ? `, ${three(this.at(profile, mm))} percent of relevance per mm` : "";
    canvas.ariaValueText = `${whole(mm)} mm${share}`;
  }
}
