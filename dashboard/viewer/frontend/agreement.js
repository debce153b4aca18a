// Opacity by agreement: the colour is the mean over networks that were trained alike but for the seed, and each voxel is
// as opaque as the share of them that agree on it.

import { element } from "./dom.js";
import { Field } from "./fields.js";
import { Grid } from "./geometry.js";
import { HeatMap, OUTSIDE } from "./heatmaps.js";

// Split what has arrived: the mean, and behind it along x how many networks agree.
export function agreedMap(entry, { data, scale }, lattice) {
  const { volume, networks, unit } = entry.agreement;
  const [x, y, z] = volume.shape;
  const half = { ...volume, shape: [x / 2, y, z] };
  const resolution = `mean of ${networks} networks, opacity by agreement`;
  // The mean has signs, whatever the map of one network shows.
  const own = { ...entry, volume: half, native_grid: "voxels", unit, resolution, one_sided: false };
  const map = new HeatMap(own, { data: data.subarray(0, data.length / 2), scale }, lattice);
  map.key = `${entry.method}/agreed`;
  map.networks = networks;
  map.opacity = new Field(data.subarray(data.length / 2), Grid.of(half), OUTSIDE, lattice.grid);
  return map;
}

// How many networks agree at a voxel of the lattice; null outside the brain, or where nothing is known of it.
export function agreeing(map, index) {
  if (!map?.opacity) return null;
  const offset = map.opacity.offsetAt(index);
  const count = offset < 0 ? OUTSIDE : map.opacity.data[offset];
  return count === OUTSIDE ? null : count;
}

// Multiply the alpha of pixels (ABGR) by the share of networks.
export function fade(pixels, counts, networks) {
  for (let i = 0; i < pixels.length; i++) {
    const alpha = Math.round(((pixels[i] >>> 24) * counts[i]) / networks);
    pixels[i] = ((alpha << 24) | (pixels[i] & 0xffffff)) >>> 0;
  }
}

// A method of the scene with its maps: that of its network, and the mean over networks once it was asked for.
export class ShownMap {
  constructor(viewer, entry) {
    Object.assign(this, { viewer, entry, own: null, agreed: null });
  }

  // Null while the mean is wanted and has not arrived, so that nobody takes one network for several.
  get map() {
    return this.viewer.view.agreement && this.entry.agreement ? this.agreed : this.own;
  }
}

export class AgreementSwitch {
  constructor(viewer) {
    this.viewer = viewer;
    this.box = element("input", { type: "checkbox", onchange: () => viewer.chooseAgreement(this.box.checked) });
    this.words = element("span");
    this.ramp = element("i", { className: "agreement-ramp", ariaHidden: "true" });
    this.element = element("label", { className: "truth agreement" }, this.box, this.ramp, this.words);
  }

  // Show the state and how it is read; or, where it cannot be shown, why.
  update() {
    const { maps, no_agreement: why, kind } = this.viewer.data.scene;
    this.element.hidden = kind === "methods";
    const on = Boolean(this.viewer.view.agreement);
    this.box.disabled = Boolean(why);
    this.box.checked = on;
    this.ramp.hidden = Boolean(why);
    const networks = maps.find(({ agreement }) => agreement)?.agreement.networks;
    const alone = maps.filter(({ agreement }) => !agreement).map(({ title }) => title);
    const rest = on && alone.length ? ` One network alone: ${alone.join(", ")}.` : "";
    const reading =
      `colour is the mean of the ${networks} networks that were trained alike but for the seed, opacity the share of ` +
      "them that agree in its sign and have the voxel in their top 5 %.";
    const words = why || `Opacity by agreement: ${reading}${rest}`;
    if (this.words.textContent !== words) this.words.textContent = words;
  }
}
