// What mouse, fingers and keys do.

import { element } from "./dom.js";

const KEYS = [
  ["Click, drag", "move the crosshair; on a profile: the slice"],
  ["Wheel", "next or previous slice"],
  ["Ctrl and wheel, + and -", "zoom all planes"],
  ["Right or middle button", "drag a zoomed picture; with H, the hand, the left button does"],
  ["Touch", "tap to move the crosshair, drag it to follow; two fingers zoom; swipe elsewhere to scroll"],
  ["Arrow keys", "crosshair by 1 mm, with Shift by 10 mm"],
  ["Page up, page down", "slice by 1 mm, with Shift by 10 mm"],
  ["0, double click", "the whole brain again where it is zoomed, else the strongest relevance of the main map"],
  ["Drop a NIfTI", "your own .nii or .nii.gz as outline or background; it stays in this browser"],
  ["?", "this help"],
];

export class HelpDialog {
  constructor() {
    const rows = KEYS.map(([key, what]) =>
      element("tr", {}, element("th", { scope: "row" }, key), element("td", {}, what)),
    );
    const close = element("button", { type: "button", onclick: () => this.element.close() }, "Close");
    this.element = element(
      "dialog",
      { ariaLabel: "Mouse and keys" },
      element("h4", {}, "Mouse and keys"),
      element("table", {}, element("tbody", {}, ...rows)),
      close,
    );
  }

  open() {
    this.element.showModal();
  }
}
