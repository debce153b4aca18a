// A second map over the first, as the outline of what it colours: another stored map, or a file that a person has dropped
// here. A dropped file is read in this browser and never leaves it; the link does not name it.

import { element } from "./dom.js";
import { Field } from "./fields.js";
import { PLANES } from "./geometry.js";
import { NiftiError, readNifti } from "./nifti.js";
import { outline } from "./outlines.js";
import { SECOND } from "./paint.js";
import { three } from "./words.js";

export const NOT_OF_THIS_RUN = "dropped file, not of this run";
const OUTSIDE = NaN; // no number of a file is: its places outside the brain are masked by the atlas
const STEPS = 1000; // of |value| in the brain, for thresholds in percentiles
const WINDOW = [2, 99.5]; // percentiles that become black and white, as for scans of the run
const TOP_NAME = 60; // letters of a file's name that are shown

// A file on the grid of the page.
class DroppedFile {
  constructor(name, { data, grid }, lattice) {
    this.name = name.length > TOP_NAME ? `${name.slice(0, TOP_NAME)}…` : name;
    this.lattice = lattice;
    this.field = new Field(data, grid, OUTSIDE, lattice.grid);
    this.inside = this.field.tables.map(({ nearest }) => nearest);
    const values = this.brainValues();
    if (!values.length) throw new NiftiError("it does not touch the brain of this page: is it in MNI space?");
    const sizes = values.map(Math.abs).sort();
    this.levels = Array.from({ length: STEPS + 1 }, (_, i) => sizes[Math.round((i / STEPS) * (sizes.length - 1))]);
    const sorted = values.sort();
    this.window = WINDOW.map((percent) => sorted[Math.round((percent / 100) * (sorted.length - 1))]);
  }

  brainValues() {
    const { labels, grid } = this.lattice;
    const found = new Float32Array(labels.length);
    let [offset, count] = [0, 0];
    for (let i = 0; i < grid.shape[0]; i++) {
      for (let j = 0; j < grid.shape[1]; j++) {
        for (let k = 0; k < grid.shape[2]; k++, offset++) {
          if (!labels[offset]) continue;
          const at = this.field.offsetAt([i, j, k]);
          if (at >= 0) found[count++] = this.field.data[at];
        }
      }
    }
    return found.slice(0, count);
  }

  at(percent) {
    return this.levels[Math.round((percent / 100) * STEPS)];
  }

  valueAt(index) {
    const at = this.lattice.labels[this.lattice.grid.offset(index)] ? this.field.offsetAt(index) : -1;
    return at < 0 ? null : this.field.data[at];
  }

  // Values of a plane, 0 outside the brain and outside the file.
  slice(plane, index, labels, out, { smooth }) {
    this.field.slice(plane, index, labels, out, { smooth });
    const { axis, across, up } = PLANES[plane];
    const [columns, rows] = [this.inside[across], this.inside[up]];
    const gone = this.inside[axis][index] < 0;
    let pixel = 0;
    for (let row = rows.length - 1; row >= 0; row--) {
      for (let column = 0; column < columns.length; column++, pixel++) {
        if (gone || rows[row] < 0 || columns[column] < 0) out[pixel] = 0;
      }
    }
    return out;
  }

  // As a background: 1 to 255 inside the brain and the file, 0 elsewhere.
  greySlice(plane, index, labels, out, { smooth }) {
    this.slice(plane, index, labels, out, { smooth });
    const [low, high] = this.window;
    const factor = 254 / Math.max(high - low, 1e-30);
    for (let pixel = 0; pixel < out.length; pixel++) {
      if (labels[pixel]) out[pixel] = Math.min(Math.max((out[pixel] - low) * factor + 1, 1), 255);
    }
    return out;
  }
}

// Which map is outlined over the first, and its outline in each plane.
export class SecondMap {
  constructor(viewer) {
    this.viewer = viewer;
    this.file = null;
    this.kept = new Map();
    this.build();
  }

  build() {
    const { viewer } = this;
    this.choice = element("select", { onchange: () => this.choose(this.choice.value) });
    this.input = element("input", { type: "file", accept: ".nii,.nii.gz,.gz", onchange: () => this.open(this.input.files[0]) });
    this.input.hidden = true;
    const pick = element(
      "button",
      { type: "button", onclick: () => this.input.click(), title: "A .nii or .nii.gz in MNI space; you can also drop it on the picture. It stays in this browser." },
      "Your NIfTI",
    );
    this.threshold = element("input", { type: "range", min: 0, max: 99.9, step: 0.1, value: 90, ariaLabel: "Threshold of the file" });
    this.threshold.oninput = () => viewer.restyle();
    this.words = element("output");
    this.role = element(
      "select",
      { ariaLabel: "What the file is", onchange: () => viewer.restyle() },
      element("option", { value: "outline" }, "outline"),
      element("option", { value: "background" }, "background"),
    );
    const drop = element("button", { type: "button", onclick: () => this.forget() }, "Remove");
    this.name = element("strong");
    this.ofFile = element("span", { className: "of-file" }, this.name, this.role, this.threshold, this.words, drop);
    this.problem = element("span", { className: "problem", role: "alert" });
    const line = element("i", { className: "truth-line second-line", ariaHidden: "true" });
    line.style.borderTopColor = SECOND;
    const head = element("label", {}, line, "Outline of another map", this.choice);
    this.element = element("div", { className: "second" }, head, pick, this.input, this.ofFile, this.problem);
  }

  // Files may be dropped anywhere on the viewer.
  listen(target) {
    target.addEventListener("dragover", (event) => {
      if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "copy";
    });
    target.addEventListener("drop", (event) => {
      if (!event.dataTransfer?.files.length) return;
      event.preventDefault();
      this.open(event.dataTransfer.files[0]);
    });
  }

  async open(file) {
    if (!file) return;
    this.input.value = "";
    this.say(`Reading ${file.name}`);
    try {
      if (!this.viewer.scene) throw new NiftiError("the brain of this page has not arrived yet: try again");
      const found = await readNifti(file);
      this.file = new DroppedFile(file.name, found, this.viewer.scene.lattice);
      this.say("");
    } catch (error) {
      if (!(error instanceof NiftiError)) console.error(error);
      this.say(`${file.name} cannot be shown: ${error instanceof NiftiError ? error.message : "it cannot be read"}.`);
    }
    this.viewer.restyle();
  }

  say(words) {
    this.problem.textContent = words;
  }

  forget() {
    this.file = null;
    this.viewer.restyle();
  }

  choose(method) {
    this.viewer.set({ second: method || null });
  }

  // Another page's brain has another grid.
  useScene(scene) {
    if (this.file && this.file.lattice !== scene.lattice) this.file = null;
    this.kept.clear();
  }

  get background() {
    return this.file && this.role.value === "background" ? this.file : null;
  }

  get stored() {
    const { view, maps } = this.viewer;
    return view.second && view.second !== view.method ? (maps.find(({ entry }) => entry.method === view.second) ?? null) : null;
  }

  // What is outlined: [key, values of a plane, threshold, words], each.
  outlined() {
    const found = [];
    const { smooth } = this.viewer.view;
    const { map } = this.stored ?? {};
    if (map) {
      const { threshold, sign } = this.viewer.look(map);
      const slice = (plane, index, labels, out) => map.slice(plane, index, labels, out, { sign, smooth, limit: map.removed ? threshold : 0 });
      found.push({ key: `${map.key}/${sign}/${map.removedVersion}`, slice, threshold, words: this.stored.entry.title });
    }
    if (this.file && this.role.value === "outline") {
      const slice = (plane, index, labels, out) => this.file.slice(plane, index, labels, out, { smooth });
      found.push({ key: "file", slice, threshold: this.file.at(Number(this.threshold.value)), words: `${this.file.name} (${NOT_OF_THIS_RUN})` });
    }
    return found;
  }

  // Paths in lattice indices, as those of regions.
  paths(plane, index) {
    return this.outlined().map(({ key, slice, threshold }) => {
      const wanted = [index, threshold, this.viewer.view.smooth].join("/");
      const name = `${key}/${plane}`;
      const kept = this.kept.get(name);
      if (kept?.wanted === wanted) return kept.path;
      const path = this.path(plane, index, slice, threshold);
      if (this.kept.size > 24) this.kept.clear();
      this.kept.set(name, { wanted, path });
      return path;
    });
  }

  path(plane, index, slice, threshold) {
    const { lattice } = this.viewer.scene;
    const [width, height] = [lattice.width(plane), lattice.height(plane)];
    const values = slice(plane, index, lattice.labelSlice(plane, index), new Float32Array(width * height));
    const marks = Uint8Array.from(values, (value) => (value > threshold ? 1 : value < -threshold ? 2 : 0));
    return outline(marks, width, height, null);
  }

  // For pictures: what is outlined, and that a file is not of the run.
  captions() {
    const background = this.background ? [`background: ${this.background.name} (${NOT_OF_THIS_RUN})`] : [];
    return [...this.outlined().map(({ words }) => `outline: ${words}`), ...background];
  }

  update() {
    const { viewer } = this;
    const entries = [["", "none"], ...viewer.maps.map(({ entry }) => [entry.method, entry.title])];
    const wanted = entries.map(([value]) => value).join("/");
    if (this.offered !== wanted) {
      this.offered = wanted;
      this.choice.replaceChildren(...entries.map(([value, words]) => element("option", { value }, words)));
    }
    this.choice.value = viewer.view.second ?? "";
    if (this.choice.selectedIndex < 0) this.choice.value = "";
    this.ofFile.hidden = !this.file;
    if (!this.file) return;
    this.name.textContent = `${this.file.name} (${NOT_OF_THIS_RUN})`;
    const outlined = this.role.value === "outline";
    this.threshold.hidden = this.words.hidden = !outlined;
    this.words.value = `|value| > ${three(this.file.at(Number(this.threshold.value)))}`;
  }
}
