// Colour tables: from the place of a value between threshold and top to a pixel.

const HALF = 1024; // steps from 0 to the top of the scale

function mix(rows, place) {
  const at = Math.min(Math.max(place, 0), 1) * (rows.length - 1);
  const low = Math.min(Math.floor(at), rows.length - 2);
  return rows[low].map((value, i) => value + (rows[low + 1][i] - value) * (at - low));
}

export function rgba(colours, sign, place) {
  const rows = sign === "absolute" ? colours.absolute : place < 0 ? colours.negative : colours.positive;
  return mix(rows, Math.abs(place));
}

// One pixel (ABGR, as in the memory of an ImageData) for each step of value / top from -1 to 1.
export class ColourTable {
  constructor(colours, sign, threshold, top) {
    this.top = Math.max(top, threshold * 1.0001, 1e-30);
    this.pixels = new Uint32Array(2 * HALF + 1);
    for (let step = -HALF; step <= HALF; step++) {
      const size = (Math.abs(step) / HALF) * this.top;
      if (size <= threshold || (sign === "absolute" && step < 0)) continue;
      const place = (size - threshold) / (this.top - threshold);
      const [r, g, b, a] = rgba(colours, sign, step < 0 ? -place : place).map((value) => Math.round(255 * value));
      this.pixels[step + HALF] = ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;
    }
  }

  paint(values, out) {
    const factor = HALF / this.top;
    for (let i = 0; i < values.length; i++) {
      const step = Math.round(values[i] * factor);
      out[i] = this.pixels[HALF + (step > HALF ? HALF : step < -HALF ? -HALF : step)];
    }
  }
}
