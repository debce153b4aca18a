// All methods side by side: the same plane and crosshair, each with its own colour bar.

import { ColourBar } from "./colourbar.js";
import { element } from "./dom.js";
import { PlaneView } from "./planes.js";

class MethodPanel {
  constructor(viewer, method) {
    Object.assign(this, { viewer, method });
    const map = () => this.entry?.map ?? null;
    this.view = new PlaneView(viewer, { plane: () => viewer.view.plane, map, small: true });
    this.bar = new ColourBar(viewer, "flat");
    this.swatch = element("i", { className: "swatch" });
    this.name = element("span");
    this.title = element(
      "button",
      { type: "button", className: "title", title: "Show this map above", onclick: () => viewer.choose("method", method) },
      this.swatch, this.name,
    );
    this.resolution = element("span", { className: "resolution" });
    const head = element("figcaption", {}, this.title, this.resolution);
    this.element = element("figure", { className: "method" }, head, this.view.canvas, this.bar.canvas);
  }

  get entry() {
    return this.viewer.maps.find(({ entry }) => entry.method === this.method);
  }

  update() {
    const { entry } = this.entry;
    this.swatch.style.background = entry.colour;
    this.name.textContent = entry.title;
    this.resolution.textContent = (this.entry.map?.entry ?? entry).resolution;
    this.title.setAttribute("aria-pressed", String(entry.method === this.viewer.view.method));
  }

  paint() {
    const rect = this.view.size();
    if (rect) this.view.paint(rect);
    this.bar.paint(this.entry.map);
  }

  stop() {
    this.view.stop();
    this.bar.stop();
  }
}

export class Methods {
  constructor(viewer) {
    this.viewer = viewer;
    this.panels = [];
    this.grid = element("div", { className: "method-grid" });
    this.plane = element(
      "div",
      { className: "switch", role: "group", ariaLabel: "Plane of all maps" },
      ...["coronal", "sagittal", "axial"].map((plane) =>
        element("button", { type: "button", onclick: () => viewer.set({ plane }), "data-plane": plane }, plane),
      ),
    );
    this.heading = element("h4");
    const head = element("div", { className: "methods-head" }, this.heading, this.plane);
    this.element = element("section", { className: "methods", ariaLabel: "All maps" }, head, this.grid);
  }

  update() {
    this.heading.textContent = this.viewer.data.scene.kind === "groups" ? "Groups and their difference, one crosshair" : "All methods, one crosshair";
    const wanted = this.viewer.maps.map(({ entry }) => entry.method);
    if (this.panels.map((panel) => panel.method).join() !== wanted.join()) {
      for (const panel of this.panels) panel.stop();
      this.panels = wanted.map((method) => new MethodPanel(this.viewer, method));
      this.grid.replaceChildren(...this.panels.map((panel) => panel.element));
    }
    for (const panel of this.panels) panel.update();
    this.grid.dataset.plane = this.viewer.view.plane;
    for (const button of this.plane.children) {
      button.setAttribute("aria-pressed", String(button.dataset.plane === this.viewer.view.plane));
    }
  }

  paint() {
    for (const panel of this.panels) panel.paint();
  }

  stop() {
    for (const panel of this.panels) panel.stop();
  }
}
