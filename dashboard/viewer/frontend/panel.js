// What lies under the cursor: place, region, value, and the region among the other people of the group.

import { agreeing } from "./agreement.js";
import { element } from "./dom.js";
import { NOT_OF_THIS_RUN } from "./second.js";
import { ordinal, percent, position, three } from "./words.js";

export class CursorPanel {
  constructor(viewer) {
    this.viewer = viewer;
    const line = (className) => element("p", { className });
    [this.region, this.place, this.value] = [line("region"), line("place"), line("value")];
    [this.share, this.group] = [line("share"), line("group")];
    this.rows = element("tbody");
    this.table = element(
      "table",
      {},
      (this.caption = element("caption")),
      element("thead", {}, (this.head = element("tr"))),
      this.rows,
    );
    this.file = line("file");
    this.live = element("p", { className: "unseen", role: "status" });
    this.element = element(
      "section",
      { className: "cursor-panel", ariaLabel: "Under the cursor" },
      element("h4", {}, "Under the cursor"),
      this.region, this.place, this.value, this.share, this.group, this.table, this.file, this.live,
    );
  }

  update() {
    const { viewer } = this;
    const { index, main, mm } = viewer;
    this.updateHead(viewer.ofGroups);
    const label = viewer.label;
    write(this.region, viewer.regionName);
    write(this.place, position(mm));
    const look = main && viewer.look(main);
    write(this.value, main ? this.valueWords(main, look, index) : "Loading");
    const figures = main && viewer.figures(main.method, label);
    // Shares of regions are of the network alone, whatever is drawn.
    const whose = main?.opacity ? "By this network alone: region share" : "Region share";
    write(this.share, label === 0 ? "" : `${whose} ${percent(figures?.share)}`);
    write(this.group, label === 0 ? "" : this.groupWords(figures));
    this.updateTable(label, index);
    write(this.file, this.fileWords(index));
  }

  // Of what the reader has dropped, apart from the maps of the run.
  fileWords(index) {
    const { file } = this.viewer.second;
    if (!file) return "";
    const value = file.valueAt(index);
    return `${file.name} (${NOT_OF_THIS_RUN}): ${value === null ? "nothing here" : three(value)}`;
  }

  // Of groups there is a value each: shares and percentiles are of single people.
  updateHead(ofGroups) {
    write(this.caption, ofGroups ? "Same place, all maps" : "Same region, all methods");
    if (this.head.childElementCount === (ofGroups ? 2 : 4)) return;
    const columns = ofGroups
      ? [heading("Map"), heading("Value")]
      : [heading("Method"), heading("Value"), heading("Share"), heading("Perc.", "Percentile in the group")];
    this.head.replaceChildren(...columns);
    this.rows.replaceChildren();
    this.share.hidden = this.group.hidden = ofGroups;
  }

  valueWords(map, look, index) {
    const value = map.valueAt(index);
    if (value === null) return "No relevance outside the brain";
    const count = agreeing(map, index);
    const networks = count === null ? "" : `, ${count} of ${map.networks} networks agree`;
    return `${three((value / map.scale) * look.factor)} ${look.unit}${networks}`;
  }

  groupWords(figures) {
    if (!figures) return "";
    const { percentile, n, mean } = figures;
    const group = this.viewer.data.group;
    if (percentile === null) return mean === null ? "" : `Mean of ${n} ${group} ${percent(mean)}`;
    const average = mean === null ? "" : `, their mean ${percent(mean)}`;
    return `${ordinal(percentile)} percentile of ${n} ${group}${average}`;
  }

  updateTable(label, index) {
    const { viewer } = this;
    const maps = viewer.maps;
    while (this.rows.children.length > maps.length) this.rows.lastChild.remove();
    maps.forEach(({ entry, map }, i) => {
      const row = this.rows.children[i] ?? this.rows.appendChild(newRow(viewer.ofGroups ? 1 : 3));
      const [name, value, share, percentile] = row.children;
      const figures = viewer.figures(entry.method, label);
      write(name.lastChild, entry.title);
      name.firstChild.style.background = entry.colour;
      const here = map?.valueAt(index) ?? null;
      write(value, here === null ? "\u2013" : three((here / map.scale) * viewer.look(map).factor));
      value.title = map ? viewer.look(map).unit : "";
      if (share) write(share, figures ? percent(figures.share) : "\u2013");
      if (percentile) write(percentile, figures?.percentile == null ? "\u2013" : ordinal(figures.percentile));
      row.className = entry.method === viewer.view.method ? "main" : "";
    });
  }

  // For screen readers, once the crosshair rests.
  announce() {
    const lines = [this.region, this.place, this.value].map((line) => line.textContent);
    const cells = (row) => [...row.children].map((cell) => cell.textContent).join(" ");
    const others = this.viewer.ofGroups ? [...this.rows.children].map(cells) : [];
    write(this.live, [...lines, ...others].join(", "));
  }
}

function heading(words, title = "") {
  return element("th", { scope: "col", title }, words);
}

function newRow(values) {
  const name = element("th", { scope: "row" }, element("i", { className: "swatch" }), element("span"));
  return element("tr", {}, name, ...Array.from({ length: values }, () => element("td")));
}

function write(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
