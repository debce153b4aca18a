// The row of controls above the picture: native inputs, each with its label.

import { drawer, element } from "./dom.js";
import { ordinal, three } from "./words.js";

const COLOURS = { hot: "Red / blue", paper: "Paper", viridis: "Viridis", cividis: "Cividis" };
const SIGNS = { signed: "Signed", absolute: "Absolute" };
const DRAWING = { smooth: "Smooth", voxels: "True voxels" };
const MORE = {
  threshold_kind: ["Threshold in", { percentile: "percentiles", absolute: "values" }],
  scale: ["Scale of the methods", { own: "each its own", shared: "one: % of relevance per cm³" }],
  outlines: ["Region outlines", { cursor: "under the cursor", all: "all", none: "none" }],
  convention: ["Convention", { neurological: "neurological (L left)", radiological: "radiological (L right)" }],
  anatomy: ["Anatomy", { template: "template, 1 mm", scan: "this scan" }],
};

// Where there is no room beside the brain, all but threshold and opacity are folded.
const NARROW = "(max-width: 640px)";

let used = 0;

function labelled(name, input, output = null) {
  input.id = `viewer-control-${++used}`;
  const label = element("label", { htmlFor: input.id }, name);
  const head = element("span", { className: "head" }, label, ...(output ? [output] : []));
  return element("div", { className: "control" }, head, input);
}

function choice(entries, act) {
  const options = Object.entries(entries).map(([value, words]) => element("option", { value }, words));
  return element("select", { onchange: (event) => act(event.target.value) }, ...options);
}

export class Controls {
  constructor(viewer) {
    this.viewer = viewer;
    this.threshold = element("input", { type: "range", oninput: () => this.useThreshold() });
    this.thresholdWords = element("output");
    this.opacity = element("input", {
      type: "range", min: 0, max: 1, step: 0.01, oninput: () => viewer.set({ opacity: Number(this.opacity.value) }),
    });
    this.opacityWords = element("output");
    const window = (key, other) =>
      element("input", { type: "range", min: 0, max: 100, step: 1, oninput: (event) => this.useWindow(key, other, event) });
    this.black = window("black", "white");
    this.white = window("white", "black");
    this.windowWords = { black: element("output"), white: element("output") };
    this.colours = choice(COLOURS, (colours) => viewer.set({ colours }));
    this.sign = choice(SIGNS, (sign) => viewer.set({ sign }));
    this.drawing = choice(DRAWING, (drawing) => viewer.set({ smooth: drawing === "smooth" }));
    this.cluster = element("input", {
      type: "number", min: 0, max: 1e6, step: 100, inputMode: "numeric", oninput: () => this.useCluster(),
    });
    this.more = Object.fromEntries(
      Object.entries(MORE).map(([key, [, entries]]) => [key, choice(entries, (value) => viewer.choose(key, value))]),
    );
    this.element = this.build();
  }

  build() {
    const rows = Object.entries(MORE).map(([key, [name]]) => labelled(name, this.more[key]));
    // Averages of groups share a scale, and stand over the template.
    this.ofPatients = rows.filter((_, i) => ["scale", "anatomy"].includes(Object.keys(MORE)[i]));
    const folded = [
      labelled("Colours", this.colours),
      labelled("Sign", this.sign),
      labelled("Drawing", this.drawing),
      labelled("Clusters from, mm³", this.cluster),
    ];
    const sheet = element(
      "div",
      { className: "sheet" },
      ...rows,
      labelled("Anatomy is black below", this.black, this.windowWords.black),
      labelled("and white above", this.white, this.windowWords.white),
    );
    const more = drawer("More", sheet);
    const whole = element(
      "div",
      { className: "controls", role: "group", ariaLabel: "How relevance is drawn" },
      labelled("Threshold", this.threshold, this.thresholdWords),
      labelled("Opacity", this.opacity, this.opacityWords),
      more,
    );
    const narrow = matchMedia(NARROW);
    const place = () => (narrow.matches ? sheet.prepend(...folded) : more.before(...folded));
    narrow.addEventListener("change", place);
    place();
    return whole;
  }

  useThreshold() {
    this.viewer.set({ threshold: Number(this.threshold.value) });
  }

  // Black stays below white.
  useWindow(key, other, { target }) {
    const value = Number(target.value);
    const bound = this.viewer.view[other];
    const kept = key === "black" ? Math.min(value, bound - 1) : Math.max(value, bound + 1);
    target.value = kept;
    this.viewer.set({ [key]: kept });
  }

  useCluster() {
    const cluster = Number(this.cluster.value);
    if (this.cluster.value !== "" && cluster >= 0 && cluster <= 1e6) this.viewer.set({ cluster });
  }

  // Show the state; a field that is being typed into is left alone.
  update() {
    const { view, main } = this.viewer;
    const active = this.element.getRootNode().activeElement;
    const look = main && this.viewer.look(main);
    if (view.threshold_kind === "percentile") Object.assign(this.threshold, { min: 0, max: 99.9, step: 0.1 });
    else if (look) {
      const top = main.largest() * look.factor;
      Object.assign(this.threshold, { min: 0, max: top, step: top / 1000 });
    }
    this.threshold.value = view.threshold;
    this.thresholdWords.value = this.words(look);
    this.threshold.setAttribute("aria-valuetext", this.words(look));
    this.opacity.value = view.opacity;
    this.opacityWords.value = `${Math.round(100 * view.opacity)} %`;
    for (const key of ["black", "white"]) {
      this[key].value = view[key];
      this.windowWords[key].value = `${Math.round(view[key])} %`;
    }
    this.colours.value = view.colours;
    this.sign.value = view.sign;
    this.drawing.value = view.smooth ? "smooth" : "voxels";
    if (active !== this.cluster) this.cluster.value = view.cluster;
    for (const [key, select] of Object.entries(this.more)) select.value = view[key];
    for (const row of this.ofPatients) row.hidden = this.viewer.ofGroups;
    this.more.anatomy.disabled = !this.viewer.data.scene.scan;
  }

  words(look) {
    const { view } = this.viewer;
    const value = look ? `${this.viewer.ofGroups ? "|value|" : "|h|"} > ${three(look.threshold * look.factor)}` : "";
    if (view.threshold_kind === "absolute") return value;
    const percentile = Number.isInteger(view.threshold) ? ordinal(view.threshold) : `${view.threshold.toFixed(1)}th`;
    return `${percentile} percentile${value ? `, ${value}` : ""}`;
  }
}
