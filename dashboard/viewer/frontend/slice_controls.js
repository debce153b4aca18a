// The controls of a sheet of slices: native inputs, each with its label; what they change stays in the browser.

import { drawer, element } from "./dom.js";
import { written } from "./slice_row.js";
import { COUNTS, PAPER, axisOf, suggested } from "./slice_view.js";
import { whole } from "./words.js";

const NAMES = { coronal: "Coronal", sagittal: "Sagittal", axial: "Axial" };
const RULES = { percentile: "percentile", value: "value" };
const DRAWING = { smooth: "Interpolated", voxels: "True voxels" };
const COLOURS = { hot: "Hot", paper: "Paper", viridis: "Viridis", cividis: "Cividis" };
const SIDES = { neurological: "Neurological", radiological: "Radiological" };
const OUTLINES = { off: "not outlined", on: "outlined (SIMULATED)" };
const NARROW = "(max-width: 640px)"; // there all but plane and threshold are folded
let used = 0;

function labelled(name, input, output = null) {
  input.id = `slices-control-${++used}`;
  const label = element("label", { htmlFor: input.id }, name);
  const head = element("span", { className: "head" }, label, ...(output ? [output] : []));
  return element("div", { className: "control" }, head, input);
}

function choice(entries, act) {
  const options = Object.entries(entries).map(([value, words]) => element("option", { value }, words));
  return element("select", { onchange: (event) => act(event.target.value) }, ...options);
}

export class SliceControls {
  constructor(board) {
    this.board = board;
    const range = (properties, act) => element("input", { type: "range", ...properties, oninput: (event) => act(Number(event.target.value)) });
    this.plane = choice(NAMES, (plane) => board.move({ plane }));
    this.count = choice(COUNTS, (n) => board.move({ n }));
    this.centre = range({ step: 1 }, (mm) => board.move({ [axisOf(board.view.plane)]: mm }));
    this.centreWords = element("output");
    this.threshold = range({ min: 0, max: 99, step: 1 }, (from) => board.set({ from }));
    this.thresholdWords = element("output");
    this.opacity = range({ min: 0.1, max: 1, step: 0.05 }, (opacity) => board.set({ opacity }));
    this.opacityWords = element("output");
    this.rule = choice(RULES, (rule) => board.set({ rule }));
    this.drawing = choice(DRAWING, (drawing) => board.set({ smooth: drawing === "smooth" }));
    this.colours = choice(COLOURS, (colours) => board.set({ colours }));
    this.side = choice(SIDES, (side) => board.set({ side }));
    this.truth = choice(OUTLINES, (truth) => board.set({ truth: truth === "on" }));
    this.element = this.build();
  }

  build() {
    this.centreRow = labelled("Centre, mm", this.centre, this.centreWords);
    this.thresholdRow = labelled("Threshold", this.threshold, this.thresholdWords);
    this.truthRow = labelled("Imposed change", this.truth);
    this.typed = element("div", { className: "typed" });
    this.fields = new Map();
    const folded = [labelled("Slices", this.count), this.centreRow, labelled("Opacity", this.opacity, this.opacityWords)];
    const sheet = element(
      "div",
      { className: "sheet" },
      labelled("Threshold is a", this.rule),
      labelled("Between voxels", this.drawing),
      labelled("Colours", this.colours),
      labelled("Convention", this.side),
      this.truthRow,
    );
    const more = drawer("Drawing", sheet);
    const whole = element(
      "div",
      { className: "controls", role: "group", ariaLabel: "How slices are cut and coloured" },
      labelled("Plane", this.plane),
      this.thresholdRow,
      this.typed,
      more,
    );
    const narrow = matchMedia(NARROW);
    const place = () => {
      if (narrow.matches) sheet.prepend(...folded);
      else {
        whole.firstChild.after(folded[0], folded[1]);
        this.typed.after(folded[2]);
      }
    };
    narrow.addEventListener("change", place);
    place();
    return whole;
  }

  // Show the view; a field that is being typed into is left alone.
  update(positions) {
    const { view, head } = this.board;
    const axis = axisOf(view.plane);
    this.plane.value = view.plane;
    for (const option of this.count.options) option.hidden = option.disabled = option.value === PAPER && view.plane !== "coronal";
    this.count.value = view.n;
    const [low, high] = head.data.extents[view.plane];
    Object.assign(this.centre, { min: low, max: high, disabled: view.n === PAPER });
    this.centre.value = view.n === PAPER ? (low + high) / 2 : view[axis];
    this.centreWords.value = view.n === PAPER ? `${axis} ${positions.map(whole).join(", ")}` : `${axis} ${whole(view[axis])}`;
    this.centre.setAttribute("aria-valuetext", this.centreWords.value);
    this.threshold.value = view.from;
    this.thresholdWords.value = `${view.from} %`;
    this.thresholdRow.hidden = view.rule === "value";
    this.opacity.value = view.opacity;
    this.opacityWords.value = `${Math.round(100 * view.opacity)} %`;
    this.rule.value = view.rule;
    this.drawing.value = view.smooth ? "smooth" : "voxels";
    this.colours.value = view.colours;
    this.side.value = view.side;
    this.truth.value = view.truth ? "on" : "off";
    this.truthRow.hidden = !head.data.truth;
    this.updateTyped();
  }

  // A field for each unit, where thresholds are values; as long as it is empty, colour starts at the median.
  updateTyped() {
    const { view, head, pictures } = this.board;
    const units = view.rule === "value" ? head.data.units : [];
    if ([...this.fields.keys()].join("\n") !== units.join("\n")) {
      this.fields = new Map(units.map((unit) => [unit, this.field(unit)]));
      this.typed.replaceChildren(...[...this.fields].map(([unit, field]) => labelled(`Threshold, ${written(unit)}`, field)));
    }
    const active = this.element.getRootNode().activeElement;
    for (const [unit, field] of this.fields) {
      field.placeholder = String(suggested(unit, pictures));
      field.step = "any";
      if (active !== field) field.value = view.at[unit] ?? "";
    }
  }

  field(unit) {
    return element("input", {
      type: "number", min: 0, inputMode: "decimal",
      oninput: ({ target }) => {
        const value = target.value === "" ? null : Number(target.value);
        if (value === null || (value >= 0 && value <= 1e9)) this.board.set({ at: { ...this.board.view.at, [unit]: value } });
      },
    });
  }
}
