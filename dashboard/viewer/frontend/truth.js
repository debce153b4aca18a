// The switch for the outline of what was imposed on a simulated brain; it is its legend, too.

import { element } from "./dom.js";
import { TRUTH } from "./paint.js";

export class TruthSwitch {
  constructor(viewer) {
    this.viewer = viewer;
    this.box = element("input", { type: "checkbox", onchange: () => viewer.set({ truth: this.box.checked }) });
    this.words = element("span");
    const line = element("i", { className: "truth-line", ariaHidden: "true" });
    line.style.borderTopColor = TRUTH;
    this.element = element("label", { className: "truth" }, this.box, line, this.words);
  }

  // Show the state; there is nothing to switch where no truth is known.
  update() {
    const { truth } = this.viewer.data.scene;
    this.element.hidden = !truth;
    this.box.checked = Boolean(this.viewer.view.truth);
    const words = truth ? `Outline ${truth.words}` : "";
    if (this.words.textContent !== words) this.words.textContent = words;
  }
}
