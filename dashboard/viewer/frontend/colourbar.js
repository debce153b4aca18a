// The scale of the colours: threshold marked, unit written along it.

import { rgba } from "./colours.js";
import { fit, sizedCanvas } from "./dom.js";
import { canvasText } from "./paint.js";
import { powerOfTen, three } from "./words.js";

const GREY = 82; // what lies under the colours, as over anatomy
const TICK = "#CDD3D6";

// A bar on the page, painted again only when something about it changes.
export class ColourBar {
  constructor(viewer, className) {
    this.viewer = viewer;
    Object.assign(this, sizedCanvas({ className: `bar ${className}`, role: "img" }, () => viewer.redraw()));
    this.painted = "";
  }

  paint(map) {
    const rect = fit(this);
    if (!rect) return;
    const { opacity } = this.viewer.view;
    const look = map && this.viewer.look(map);
    const ratio = this.canvas.width;
    const words = look && [look.name, look.sign, look.threshold, look.top, look.factor, look.unit];
    const key = JSON.stringify([words, opacity, rect.width, rect.height, ratio]);
    if (key === this.painted) return;
    this.painted = key;
    this.context.fillStyle = "#000";
    this.context.fillRect(0, 0, rect.width, rect.height);
    if (!map) return;
    const upright = rect.height > rect.width;
    paintBar(this.context, rect, look, canvasText(this.context), { opacity, upright });
    this.canvas.ariaLabel = `Colour bar of ${map.entry.title}, ${look.unit}`;
  }
}

// `look`: threshold, top (stored numbers), factor (to the unit shown), unit, colours, sign.
export function paintBar(context, rect, look, text, { opacity, upright }) {
  const signed = look.sign === "signed";
  const [low, high] = [signed ? -look.top : 0, look.top];
  const bar = upright
    ? { x: rect.x + 8, y: rect.y + 18, width: 12, height: rect.height - 36 }
    : { x: rect.x + 8, y: rect.y + 6, width: rect.width - 16, height: 9 };
  const length = Math.max(Math.round(upright ? bar.height : bar.width), 1);
  for (let i = 0; i < length; i++) {
    const value = low + ((i + 0.5) / length) * (high - low);
    context.fillStyle = colourAt(value, look, opacity);
    if (upright) context.fillRect(bar.x, bar.y + length - 1 - i, bar.width, 1.5);
    else context.fillRect(bar.x + i, bar.y, 1.5, bar.height);
  }
  const place = (value) => ((value - low) / (high - low)) * length;
  const marks = signed ? [-look.threshold, look.threshold] : [look.threshold];
  context.fillStyle = "#fff";
  for (const mark of marks) {
    if (upright) context.fillRect(bar.x - 3, bar.y + length - place(mark) - 1, bar.width + 6, 2);
    else context.fillRect(bar.x + place(mark) - 1, bar.y - 3, 2, bar.height + 6);
  }
  (upright ? uprightWords : flatWords)(bar, rect, look, text, place, length);
}

function colourAt(value, look, opacity) {
  const size = Math.abs(value);
  const span = Math.max(look.top - look.threshold, 1e-30);
  const place = (size - look.threshold) / span;
  const [r, g, b, a] = size > look.threshold ? rgba(look.colours, look.sign, value < 0 ? -place : place) : [0, 0, 0, 0];
  const alpha = a * opacity;
  const [red, green, blue] = [r, g, b].map((channel) => Math.round(255 * channel * alpha + GREY * (1 - alpha)));
  return `rgb(${red}, ${green}, ${blue})`;
}

function ticks(look, place, gap) {
  const { top, threshold } = look;
  const signed = look.sign === "signed";
  const wanted = signed ? [top, -top, threshold, -threshold, 0] : [top, threshold, 0];
  const kept = [];
  for (const value of wanted) {
    if (kept.every((other) => Math.abs(place(other) - place(value)) >= gap)) kept.push(value);
  }
  return kept;
}

function uprightWords(bar, rect, look, text, place, length) {
  const { factor, prefix } = powerOfTen(look.top * look.factor);
  for (const value of ticks(look, place, 14)) {
    const y = bar.y + length - place(value);
    text(three(value * look.factor * factor), bar.x + bar.width + 5, y, { size: 11, baseline: "middle", colour: TICK });
  }
  text(prefix + look.unit, rect.x + rect.width - 9, bar.y + length / 2, {
    size: 11, align: "center", baseline: "middle", colour: TICK, upright: true,
  });
}

function flatWords(bar, rect, look, text, place, length) {
  const { factor, prefix } = powerOfTen(look.top * look.factor);
  for (const value of ticks(look, place, 46)) {
    const x = bar.x + place(value);
    const align = value === look.top ? "right" : place(value) < 8 ? "left" : "center";
    text(three(value * look.factor * factor), Math.min(Math.max(x, bar.x), bar.x + length), bar.y + bar.height + 4, {
      size: 11, align, baseline: "top", colour: TICK,
    });
  }
  text(prefix + look.unit, bar.x, bar.y + bar.height + 19, { size: 11, baseline: "top", colour: TICK });
}
