// A row of a sheet: pictures side by side, each with its words as text over it, and what it shows for those who do not
// see it.

import { element } from "./dom.js";
import { axisOf } from "./slice_view.js";

const [SMALLEST, LARGEST] = [10, 14]; // CSS pixels of words
const ACROSS = { l: "0", m: "-50%", r: "-100%" };
const UP = { t: "0", m: "-50%", s: "-82%" };

export class SliceRow {
  // `seen` is called when the row comes into sight.
  constructor(root, seen) {
    Object.assign(this, { root, pictures: [], inSight: true });
    this.observer = new IntersectionObserver(([{ isIntersecting }]) => {
      this.inSight = isIntersecting;
      if (isIntersecting) seen();
    });
    this.observer.observe(root);
    this.grid = element("div", { className: "slices-grid" });
    root.replaceChildren(this.grid);
  }

  receive({ row, pictures, missing }) {
    const kept = new Map(this.pictures.map((one) => [one.heading, one]));
    this.row = row;
    this.pictures = pictures.map((entry) => (kept.get(entry.heading) ?? new SlicePicture(this)).receive(entry));
    const empty = missing.map(([heading, why]) =>
      element("p", { className: "missing" }, element("b", {}, heading), `: ${why}`),
    );
    this.root.style.setProperty("--pictures", Math.max(pictures.length + missing.length, 3));
    this.grid.replaceChildren(...this.pictures.map((one) => one.element), ...empty);
  }

  stop() {
    this.observer.disconnect();
  }

  describe(plane, positions) {
    const where = positions.map((mm) => String(Math.round(mm))).join(", ");
    for (const one of this.pictures) one.describe(`on ${plane} sections of the brain at ${axisOf(plane)} ${where} mm.`);
  }
}

class SlicePicture {
  constructor(row) {
    Object.assign(this, { row, painted: false, failed: null, heat: null, shares: null, valuesKey: "" });
    this.canvas = element("canvas", { ariaHidden: "true" });
    this.words = element("div", { className: "picture-words", role: "img" });
    this.message = element("div", { className: "message", role: "status" });
    this.caption = element("figcaption");
    const frame = element("div", { className: "frame-of-slices" }, this.canvas, this.words, this.message);
    this.element = element("figure", {}, frame, this.caption);
  }

  receive(entry) {
    const { heading, caption, method, unit, scaleKey, signed, parts, opacity } = entry;
    Object.assign(this, { heading, method, unit, scaleKey, signed, parts, opacity, said: caption });
    if (this.packed !== entry.levels) {
      this.packed = entry.levels;
      this.levels = new Float32Array(Uint8Array.from(atob(entry.levels), (letter) => letter.charCodeAt(0)).buffer);
    }
    this.caption.textContent = caption;
    this.valuesKey = "";
    return this;
  }

  describe(where) {
    const words = `${this.method} ${where} ${this.said}`;
    if (this.words.ariaLabel !== words) this.words.ariaLabel = words;
  }

  // The values at every pixel, worked out again only when something about them changes.
  useValues(key, ground, parts, shares, smooth) {
    if (key === this.valuesKey) return;
    this.valuesKey = key;
    const values = ground.values(parts, smooth);
    this.heat = this.signed ? values : values.map(Math.abs);
    this.shares = shares && ground.values([[shares, 1]], smooth);
  }

  // `words`: what `paint` returns. They stay sharp at any size, and never become too small to be read.
  show(words, look) {
    this.painted = true;
    this.look = look;
    const { width, height } = this.canvas;
    this.words.style.aspectRatio = `${width} / ${height}`;
    const key = JSON.stringify([words, width, height]);
    if (key === this.wordsKey) return;
    this.wordsKey = key;
    this.words.replaceChildren(...words.map((one) => placed(one, width, height)));
  }

  fail(error) {
    this.failed = error && !error.expired ? error : null;
    const words = this.failed ? `${error.message || "The numbers could not be read."} The results are unharmed: reload the page.` : "";
    if (this.message.textContent !== words) this.message.textContent = words;
  }
}

function placed({ x, y, words, size, anchor, upright }, width, height) {
  const [across, up] = upright ? "mm" : anchor;
  const made = element("span", { ariaHidden: "true" }, written(words));
  Object.assign(made.style, {
    left: `${(100 * x) / width}%`,
    top: `${(100 * y) / height}%`,
    fontSize: `clamp(${SMALLEST}px, ${(100 * size) / width}cqw, ${LARGEST}px)`,
    transform: `translate(${ACROSS[across]}, ${UP[up]})${upright ? " rotate(180deg)" : ""}`,
    writingMode: upright ? "vertical-rl" : "",
  });
  return made;
}

// With a true minus and a raised 3.
export function written(words) {
  return words.replace(/(?<![\w.])-(?=[\d.])/g, "\u2212").replace("cm3", "cm³");
}
