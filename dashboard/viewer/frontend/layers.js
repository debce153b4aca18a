// Slice pictures at the resolution of the lattice, kept until something they depend on changes.

import { fade } from "./agreement.js";
import { Field } from "./fields.js";
import { ColourTable } from "./colours.js";

const BRIGHTNESS = 0.85; // of the anatomy, so that relevance stands out

class Layer {
  constructor(width, height) {
    this.canvas = document.createElement("canvas");
    this.canvas.width = width;
    this.canvas.height = height;
    this.context = this.canvas.getContext("2d");
    this.image = this.context.createImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.values = new Float32Array(width * height);
    this.sliceKey = "";
    this.colourKey = "";
  }

  show() {
    this.context.putImageData(this.image, 0, 0);
  }
}

export class Layers {
  constructor(lattice, scan) {
    this.lattice = lattice;
    this.scan = scan && new Field(scan.data, scan.grid, 0, lattice.grid);
    this.layers = new Map();
    this.tables = new Map();
  }

  layer(name, plane) {
    const key = `${name}/${plane}`;
    if (!this.layers.has(key)) {
      this.layers.set(key, new Layer(this.lattice.width(plane), this.lattice.height(plane)));
    }
    return this.layers.get(key);
  }

  // `black`, `white`: percent of the range of the anatomy.
  // A `file` of the reader's own takes its place.
  anatomy(plane, index, { anatomy, smooth, black, white }, file = null) {
    const layer = this.layer("anatomy", plane);
    const scan = file ?? (anatomy === "scan" && this.scan);
    const key = `${index}/${scan ? smooth : "template"}/${black}/${white}`;
    if (layer.sliceKey === key && layer.file === file) return layer.canvas;
    Object.assign(layer, { sliceKey: key, file });
    const labels = this.lattice.labelSlice(plane, index);
    if (file) file.greySlice(plane, index, labels, layer.values, { smooth });
    else if (scan) scan.slice(plane, index, labels, layer.values, { smooth });
    else this.lattice.take(this.lattice.brain, plane, index, layer.values);
    const most = scan ? 255 : this.lattice.brightest;
    const [low, range] = [(black / 100) * most, (Math.max(white - black, 1) / 100) * most];
    const factor = (255 * BRIGHTNESS) / range;
    for (let i = 0; i < layer.values.length; i++) {
      const grey = Math.round(Math.min(Math.max(layer.values[i] - low, 0), range) * factor);
      layer.pixels[i] = layer.values[i] > 0 ? ((255 << 24) | (grey << 16) | (grey << 8) | grey) >>> 0 : 0;
    }
    layer.show();
    return layer.canvas;
  }

  // `look`: sign, smooth; threshold and top as stored numbers; colours and their name.
  overlay(map, plane, index, look) {
    const layer = this.layer(map.key, plane);
    const limit = map.removed ? look.threshold : 0;
    const sliceKey = [index, look.sign, look.smooth, map.removedVersion, limit].join("/");
    const colourKey = this.colourKey(look);
    if (layer.sliceKey === sliceKey && layer.colourKey === colourKey) return layer.canvas;
    if (layer.sliceKey !== sliceKey) {
      const labels = this.lattice.labelSlice(plane, index);
      map.slice(plane, index, labels, layer.values, { sign: look.sign, smooth: look.smooth, limit });
      if (map.opacity) {
        layer.counts ??= new Float32Array(layer.values.length);
        map.opacity.slice(plane, index, labels, layer.counts, { smooth: look.smooth });
      }
    }
    [layer.sliceKey, layer.colourKey] = [sliceKey, colourKey];
    this.table(map, look, colourKey).paint(layer.values, layer.pixels);
    if (map.opacity) fade(layer.pixels, layer.counts, map.networks);
    layer.show();
    return layer.canvas;
  }

  colourKey({ name, sign, threshold, top }) {
    return [name, sign, threshold, top].join("/");
  }

  table(map, look, key) {
    const kept = this.tables.get(map.key);
    if (kept?.key === key) return kept.table;
    const table = new ColourTable(look.colours, look.sign, look.threshold, look.top);
    this.tables.set(map.key, { key, table });
    return table;
  }
}
