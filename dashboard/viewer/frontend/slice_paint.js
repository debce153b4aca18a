// Draws a picture of slices as the server draws the files of them: the same places, pixels, colours and words
// (drawing/planes.py, drawing/colours.py). tests/test_dashboard_slices_browser.py compares both.

import { AXES, PLANES } from "./geometry.js";
import { cutAt } from "./slice_sources.js";

const LEVELS = 255; // of a table of colours, on either side of 0
const BRIGHTNESS = 0.85; // of the anatomy
const WIDTH = 512; // pixels that the sections of a picture share
const SHARPEST = 3; // pixels a mm
export const TEXT = 23; // pixels
const BAR_GREY = 0.32;
const BAR_WIDTH = 6.4; // in sizes of its words
const WIDER = 1.2; // letters of a browser than those of pixels
const LETTERS = { coronal: "LR", sagittal: "PA", axial: "LR" };
const OPAQUE = 0xff000000;
const [DASH, DASH_GAP] = [5, 3]; // mm
const LINE = 0xffe67aff; // of a truth, as TRUTH in paint.js
const SHADE = 0.3; // how dark what lies under it becomes

// Where everything stands, in pixels: sections in rows, the colour bar at the right.
export function plan(underlay, plane, positions) {
  const { across, up } = PLANES[plane];
  const { shape, step } = underlay;
  const columns = positions.length <= 3 ? positions.length : Math.ceil(positions.length / 2);
  const wide = (shape[across] - 1) * step[across] * columns;
  const sharp = Math.min(SHARPEST, WIDTH / wide);
  const tile = { width: Math.round(shape[across] * step[across] * sharp), height: Math.round(shape[up] * step[up] * sharp) };
  const strip = Math.round(1.6 * TEXT);
  const rows = Math.ceil(positions.length / columns);
  return { columns, tile, strip, sharp, width: columns * tile.width, height: rows * (tile.height + strip) };
}

// The mm of the pixels that cover an axis of a grid.
function pixelCentres(grid, axis, count) {
  const step = grid.step[axis];
  const first = grid.mm(axis, 0) - step / 2;
  return Float64Array.from({ length: count }, (_, i) => first + ((i + 0.5) * step * grid.shape[axis]) / count);
}

function table(grid, axis, mm, smooth) {
  const last = grid.shape[axis] - 1;
  const [low, high, weight] = [new Int32Array(mm.length), new Int32Array(mm.length), new Float32Array(mm.length)];
  mm.forEach((one, i) => {
    const place = Math.min(Math.max(grid.place(axis, one), 0), last);
    low[i] = Math.floor(smooth ? place : place + 0.5);
    high[i] = Math.min(low[i] + 1, last);
    weight[i] = smooth ? place - low[i] : 0;
  });
  return { low, high, weight };
}

// How much of a value at the edge of a grid counts at a place beyond it: less and less until the next voxel, which is 0.
// Where the larger grid of maps ends with it, there is no next voxel, and the value goes on.
function fade(grid, larger, axis, mm) {
  const place = grid.place(axis, Math.min(Math.max(mm, larger.mm(axis, 0)), larger.mm(axis, larger.shape[axis] - 1)));
  return Math.max(0, 1 - Math.max(-place, place - (grid.shape[axis] - 1), 0));
}

// A cut, column by column, at the pixels of a section, row by row from the top.
function resample(cut, size, columns, rows, out, start) {
  let pixel = start;
  for (let row = 0; row < rows.low.length; row++) {
    const [below, above, v] = [rows.low[row], rows.high[row], rows.weight[row]];
    for (let column = 0; column < columns.low.length; column++, pixel++) {
      const [left, right, u] = [columns.low[column] * size, columns.high[column] * size, columns.weight[column]];
      const down = cut[left + below] + (cut[right + below] - cut[left + below]) * u;
      const top = cut[left + above] + (cut[right + above] - cut[left + above]) * u;
      out[pixel] = down + (top - down) * v;
    }
  }
}

// What all pictures of a sheet have in common: the anatomy at its pixels, and where a map is read for them.
export class Ground {
  constructor(underlay, grid, { plane, positions, side }) {
    Object.assign(this, { plane, positions, grid, plan: plan(underlay.grid, plane, positions) });
    const { across, up } = PLANES[plane];
    const { width, height } = this.plan.tile;
    this.mirrored = side === "radiological" && plane !== "sagittal";
    const along = pixelCentres(underlay.grid, across, width);
    if (this.mirrored) along.reverse();
    this.mm = [along, pixelCentres(underlay.grid, up, height).reverse()];
    this.pixels = width * height;
    const [columns, rows] = [across, up].map((axis, i) => table(underlay.grid, axis, this.mm[i], true));
    const size = underlay.grid.shape[up];
    this.grey = new Float32Array(this.pixels * positions.length);
    this.inside = new Float32Array(this.grey.length);
    positions.forEach((mm, i) => {
      resample(cutAt(underlay, plane, mm, true, 0), size, columns, rows, this.grey, i * this.pixels);
      resample(cutAt(underlay, plane, mm, true, 1), size, columns, rows, this.inside, i * this.pixels);
    });
    this.plain = new Uint32Array(this.grey.length); // pixels without any colour
    for (let i = 0; i < this.grey.length; i++) {
      this.grey[i] = Math.min(Math.max((BRIGHTNESS * this.grey[i] * this.inside[i]) / 255, 0), 1);
      this.plain[i] = greyPixel(this.grey[i]);
    }
    this.tables = new Map();
  }

  // Values of a map at every pixel of all sections; `parts`: [source, factor] that are added up.
  values(parts, smooth, grid = this.grid) {
    const { across, up } = PLANES[this.plane];
    const key = `${smooth}/${grid === this.grid}`;
    if (!this.tables.has(key)) {
      this.tables.set(key, [across, up].map((axis, i) => table(grid, axis, this.mm[i], smooth)));
    }
    const [columns, rows] = this.tables.get(key);
    const out = new Float32Array(this.grey.length);
    this.positions.forEach((mm, i) => {
      const sum = new Float32Array(grid.shape[across] * grid.shape[up]);
      for (const [source, factor] of parts) {
        const cut = cutAt(source, this.plane, mm, smooth);
        for (let k = 0; k < sum.length; k++) sum[k] += factor * cut[k];
      }
      resample(sum, grid.shape[up], columns, rows, out, i * this.pixels);
    });
    return out;
  }

  // Let values end at the edge of their grid, as they do where the file has voxels of 0 beyond it.
  endAtTheEdge(values, grid) {
    const { axis, across, up } = PLANES[this.plane];
    const [columns, rows] = [across, up].map((one, i) => Float32Array.from(this.mm[i], (mm) => fade(grid, this.grid, one, mm)));
    let pixel = 0;
    for (const mm of this.positions) {
      const depth = fade(grid, this.grid, axis, mm);
      for (const row of rows) for (const column of columns) values[pixel++] *= depth * row * column;
    }
  }

  // Where the line around a truth is drawn (2), and the darker one under it (1); as `draw_outline`.
  outline(truth) {
    if (this.outlined) return this.outlined;
    const { width, height } = this.plan.tile;
    const { sharp } = this.plan;
    const shares = this.values([[truth, 1]], true, truth.grid);
    this.endAtTheEdge(shares, truth.grid);
    const found = new Uint8Array(shares.length);
    const period = (DASH + DASH_GAP) * sharp;
    for (let start = 0; start < shares.length; start += this.pixels) {
      const within = Uint8Array.from(shares.subarray(start, start + this.pixels), (share) => (share >= 0.5 ? 1 : 0));
      const edge = grown(within, width, height, 1).map((one, i) => (one && !within[i] ? 1 : 0));
      const wide = grown(edge, width, height, Math.max(1, Math.round(sharp / 2)));
      const line = grown(edge, width, height, Math.round(sharp / 3));
      for (let i = 0; i < this.pixels; i++) {
        const dash = ((Math.floor(i / width) + 2 * (i % width)) / 1.5) % period < (period * DASH) / (DASH + DASH_GAP);
        found[start + i] = line[i] && dash ? 2 : wide[i];
      }
    }
    this.outlined = found;
    return found;
  }
}

// A mask, larger by some pixels on its four sides.
function grown(mask, width, height, pixels) {
  let found = mask;
  for (let step = 0; step < pixels; step++) {
    const wider = Uint8Array.from(found);
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        if (!found[i]) continue;
        if (x > 0) wider[i - 1] = 1;
        if (x + 1 < width) wider[i + 1] = 1;
        if (y > 0) wider[i - width] = 1;
        if (y + 1 < height) wider[i + width] = 1;
      }
    }
    found = wider;
  }
  return found;
}

// `look`: low, high, unit, signed, opacity, colours (a table), outline (or null). `shares`: what alpha is multiplied by, or null.
export function paint(canvas, ground, heat, shares, look) {
  const { columns, tile, strip, width, height } = ground.plan;
  const bar = barPlan(height, look);
  if (canvas.width !== width + bar.width || canvas.height !== height) {
    [canvas.width, canvas.height] = [width + bar.width, height];
  }
  const context = canvas.getContext("2d");
  const image = (canvas.kept?.width === canvas.width && canvas.kept.height === height && canvas.kept) ||
    context.createImageData(canvas.width, height);
  canvas.kept = image;
  const out = new Uint32Array(image.data.buffer).fill(OPAQUE);
  const coloured = colourOf(look);
  ground.positions.forEach((_, i) => {
    const corner = Math.floor(i / columns) * (tile.height + strip) * canvas.width + (i % columns) * tile.width;
    coloured.section(out, corner, canvas.width, tile, { ground, heat, shares }, i * ground.pixels);
    if (look.outline) trace(out, corner, canvas.width, tile, look.outline, i * ground.pixels);
  });
  paintBar(out, canvas.width, width, bar, look);
  context.putImageData(image, 0, 0);
  return [...sectionWords(ground), ...barWords(width, bar, look)];
}

function trace(out, corner, stride, { width, height }, outline, first) {
  let pixel = first;
  for (let row = 0; row < height; row++) {
    for (let place = corner + row * stride; place < corner + row * stride + width; place++, pixel++) {
      if (outline[pixel] === 2) out[place] = LINE;
      else if (outline[pixel] === 1) out[place] = darker(out[place]);
    }
  }
}

function darker(pixel) {
  const dark = (shift) => Math.floor(SHADE * ((pixel >>> shift) & 255)) << shift;
  return (OPAQUE | dark(16) | dark(8) | dark(0)) >>> 0;
}

function greyPixel(grey) {
  const under = (255 * grey + 0.5) | 0;
  return (OPAQUE | (under << 16) | (under << 8) | under) >>> 0;
}

function colourOf({ low, high, signed, opacity, colours }) {
  const factor = LEVELS / Math.max(high - low, 1e-30);
  // Red, green, blue from 0 to 255 and alpha from 0 to 1 of every level.
  const rows = Float32Array.from(colours, (value, i) => (i % 4 === 3 ? (value / 255) * opacity : value));
  const one = (value, grey, share) => {
    const size = value < 0 ? -value : value;
    const level = size > low ? Math.round(Math.min((size - low) * factor, LEVELS)) : 0;
    if (level === 0) return greyPixel(grey);
    const at = 4 * (LEVELS + (signed && value < 0 ? -level : level));
    const [alpha, dark] = [rows[at + 3] * share, 255 * grey];
    const red = (dark + (rows[at] - dark) * alpha + 0.5) | 0;
    const green = (dark + (rows[at + 1] - dark) * alpha + 0.5) | 0;
    const blue = (dark + (rows[at + 2] - dark) * alpha + 0.5) | 0;
    return (OPAQUE | (blue << 16) | (green << 8) | red) >>> 0;
  };
  // All pixels of a section; those of a row follow each other.
  const section = (out, corner, stride, { width, height }, { ground: { grey, inside, plain }, heat, shares }, first) => {
    let pixel = first;
    for (let row = 0; row < height; row++) {
      const end = corner + row * stride + width;
      for (let place = end - width; place < end; place++, pixel++) {
        const value = heat[pixel];
        // Most of a picture has no colour.
        if (value <= low && value >= -low) out[place] = plain[pixel];
        else out[place] = one(value, grey[pixel], shares === null ? inside[pixel] : inside[pixel] * shares[pixel]);
      }
    }
  };
  return { one, section };
}

function sectionWords({ plan: { columns, tile, strip }, positions, plane, mirrored }) {
  const edge = 0.43 * TEXT;
  const ends = [...LETTERS[plane]];
  if (mirrored) ends.reverse();
  const axis = AXES[PLANES[plane].axis];
  return positions.flatMap((mm, i) => {
    const x = (i % columns) * tile.width;
    const y = Math.floor(i / columns) * (tile.height + strip);
    const where = Math.round(mm) === 0 ? "0" : `${mm > 0 ? "+" : "-"}${Math.abs(Math.round(mm))}`;
    return [
      { x: x + edge, y: y + edge, words: ends[0], size: TEXT, anchor: "lt" },
      { x: x + tile.width - edge, y: y + edge, words: ends[1], size: TEXT, anchor: "rt" },
      { x: x + edge, y: y + tile.height + strip - edge, words: `${axis} ${where} mm`, size: TEXT, anchor: "ls" },
    ];
  });
}

// -- the colour bar --------------------------------------------------------------------------------------------------

const ruler = document.createElement("canvas").getContext("2d");

function barPlan(height, look) {
  const [top, bottom] = [Math.round(0.1 * height), Math.round(0.9 * height)];
  const end = look.signed ? -look.high : 0;
  const [left, wide] = [Math.round(0.7 * TEXT), Math.round(0.87 * TEXT)];
  const marks = marksOf(look, (1.25 * TEXT * (look.high - end)) / (bottom - top));
  ruler.font = `${0.87 * TEXT}px sans-serif`;
  const widest = WIDER * Math.max(...marks.map(([, words]) => ruler.measureText(words).width / 1.1));
  const unitAt = Math.max(5.6 * TEXT, left + wide + widest + 1.1 * TEXT);
  const width = Math.max(Math.round(BAR_WIDTH * TEXT), Math.round(unitAt + 0.8 * TEXT));
  const row = (value) => top + Math.round(((look.high - value) / (look.high - end)) * (bottom - top));
  return { top, bottom, end, left, wide, marks, unitAt, width, row };
}

function paintBar(out, stride, from, bar, look) {
  const { top, bottom, end, left, wide, row } = bar;
  const count = Math.max(bottom - top, 2);
  const { one } = colourOf(look);
  for (let i = 0; i < count; i++) {
    const value = look.high + (i / (count - 1)) * (end - look.high);
    out.fill(one(value, BAR_GREY, 1), (top + i) * stride + from + left, (top + i) * stride + from + left + wide);
  }
  for (const value of look.signed ? [look.low, -look.low] : [look.low]) {
    for (let y = row(value) - 1; y < row(value) + 2; y++) {
      out.fill(0xffffffff, y * stride + from + left - 6, y * stride + from + left + wide + 6);
    }
  }
}

function barWords(from, { top, bottom, left, wide, marks, unitAt, row }, look) {
  const unit = { x: from + Math.round(unitAt), y: (top + bottom) / 2, words: look.unit, size: 0.78 * TEXT, anchor: "mm", upright: true };
  const x = from + left + wide + 0.4 * TEXT;
  return [unit, ...marks.map(([value, words]) => ({ x, y: row(value), words, size: 0.87 * TEXT, anchor: "lm" }))];
}

function marksOf({ low, high, signed }, apart) {
  let wanted;
  if (!signed) wanted = [[high, short(high, high)], [low, short(low, high)]];
  else if (0.02 * high < 2 * low && 2 * low < apart) {
    wanted = [[high, short(high, high)], [-high, short(-high, high)], [0, `±${short(low, high)}`]];
  } else wanted = [high, -high, low, -low].map((value) => [value, short(value, high)]);
  const marks = [];
  for (const [value, words] of wanted) {
    if (marks.every(([other]) => Math.abs(value - other) >= apart)) marks.push([value, words]);
  }
  return marks;
}

// Two digits, without an exponent where that is short: 0.045, .0071; 0 where it is next to nothing.
export function short(value, high) {
  let words = Math.abs(value) > 0.01 * high ? twoDigits(Math.abs(value)) : "0";
  if (words.length > 5 && !words.includes("e")) words = words.replace(/^0/, "");
  return value < 0 && words !== "0" ? `-${words}` : words;
}

function twoDigits(size) {
  const [mantissa, power] = size.toExponential(1).split("e").map(Number);
  if (power >= -4 && power < 2) return String(Number(size.toPrecision(2)));
  return `${mantissa}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}
