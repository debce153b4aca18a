// The buttons below the picture.

import { element } from "./dom.js";
import { png, svg } from "./picture.js";

const HAND = "Drag moves the picture when it is zoomed (H); so do the right and the middle button";

export class Tools {
  constructor(viewer) {
    this.viewer = viewer;
    const button = (words, act, title) => element("button", { type: "button", onclick: act, title }, words);
    this.hand = button("Hand", () => viewer.useHand(), HAND);
    this.element = element(
      "div",
      { className: "tools" },
      button("Strongest point", () => viewer.goToStrongest(), "Move the crosshair to the strongest relevance (0)"),
      button("+", () => viewer.zoom.step(1), "Zoom in (+, ctrl and wheel, two fingers)"),
      button("\u2212", () => viewer.zoom.step(-1), "Zoom out (-)"),
      button("Whole brain", () => viewer.zoom.reset(), "Show the whole brain again (0)"),
      this.hand,
      button("Save PNG", () => viewer.save(png, "png"), "Save this view as a picture"),
      button("Save SVG", () => viewer.save(svg, "svg"), "Save this view as a drawing with editable text"),
      button("Keys", () => viewer.help(), "What mouse and keyboard do (?)"),
    );
  }

  update() {
    const { hand, view, root } = this.viewer;
    this.hand.setAttribute("aria-pressed", String(hand));
    root.dataset.hand = hand && view.zoom > 1 ? "on" : "off";
  }
}
