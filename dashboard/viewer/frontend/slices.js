// Sheets of slices of group averages: controls, rows of pictures and a note, which Streamlit mounts apart, on one board.

import { Grid } from "./geometry.js";
import { stablePart } from "./loading.js";
import { SliceControls } from "./slice_controls.js";
import { Ground, paint } from "./slice_paint.js";
import { SliceRow } from "./slice_row.js";
import { Source, wantAt } from "./slice_sources.js";
import { handle } from "./slice_debug.js";
import { positionsOf, rangeOf, settle } from "./slice_view.js";

const TELL_AFTER = 400; // ms of rest before the server hears of a change
const PAUSE = 150; // ms of rest until pictures out of sight are drawn
const NO_BRAIN = 255; // in the volume of a truth
const PARTS = ["head", "row", "note"];
const boards = new Map();
let calls = 0;

export function mount(root, component) {
  const { sheet, part } = component.data;
  if (!boards.has(sheet)) boards.set(sheet, new Board());
  const board = boards.get(sheet);
  const call = ++calls;
  root.__call = call;
  root.classList.add(PARTS.find((one) => one === part));
  if (part === "head") board.useHead(root, component);
  else if (part === "row") board.useRow(root, component.data);
  else board.useNote(root);
  // Streamlit may end an earlier call after a later one has begun: only the last one may take a part away.
  return () => {
    if (root.__call === call) board.leave(root, part);
  };
}

// What a sheet shows: one view of all its pictures, and where their numbers come from.
class Board {
  constructor() {
    Object.assign(this, { head: null, view: null, rows: new Map(), sources: new Map(), note: null, told: "", moved: false });
    Object.assign(this, { waiting: false, drawMs: 0, revision: undefined, underlay: null, grounds: new Map() });
  }

  // -- the parts -------------------------------------------------------------------------------------------------------

  // Python's options count at first, and when the revision has changed; in between the reader's own choices stand.
  useHead(root, component) {
    const { data } = component;
    const fresh = this.head?.root !== root;
    this.component = component;
    if (fresh || this.revision !== data.revision) this.view = { ...data.options, at: { ...data.options.at } };
    this.revision = data.revision;
    if (fresh) {
      this.head = { root, data, controls: new SliceControls(this) };
      root.replaceChildren(this.head.controls.element);
      root.__viewer = handle(this);
      this.told = "";
    }
    this.head.data = data;
    this.useGrid(data);
    this.colours ??= Object.fromEntries(
      Object.entries(data.colours).map(([name, [signed, absolute]]) => [name, { signed: bytes(signed), absolute: bytes(absolute) }]),
    );
    settle(this.view, data);
    this.restyle();
  }

  useGrid({ grid, underlay, truth }) {
    const identity = stablePart(underlay.url);
    if (this.underlay?.identity === identity) {
      this.underlay.renew(underlay.url);
      this.truth?.renew(truth.volume.url);
      return;
    }
    // Another run: nothing of the one before is right for it.
    const [x, y, z] = underlay.shape;
    this.grid = Grid.of(grid);
    this.sources.clear();
    this.grounds.clear();
    const own = { url: underlay.url, grid: Grid.of({ shape: [x / 2, y, z], affine: underlay.affine }), dtype: "uint8", layers: 2 };
    this.underlay = Object.assign(new Source(own, () => this.arrived(this.underlay)), { identity });
    const imposed = truth && { url: truth.volume.url, grid: Grid.of(truth.volume), dtype: "uint8", outside: NO_BRAIN };
    this.truth = imposed && new Source(imposed, () => this.arrived(this.truth));
  }

  useRow(root, data) {
    const row = (root.__row ??= new SliceRow(root, () => this.redraw()));
    row.receive(data);
    this.rows.set(root, row);
    root.dataset.state = "ready";
    this.restyle();
  }

  useNote(root) {
    this.note = root;
    root.dataset.state = "ready";
    this.restyle();
  }

  leave(root, part) {
    if (part === "row") {
      this.rows.get(root)?.stop();
      this.rows.delete(root);
      delete root.__row;
    } else if (part === "note" && this.note === root) this.note = null;
    else if (part === "head" && this.head?.root === root) {
      clearTimeout(this.timer);
      this.head = null;
    }
    this.restyle();
  }

  get pictures() {
    return [...this.rows.values()].flatMap((row) => row.pictures);
  }

  // Everything that is mounted is drawn as the view says; or cannot be, and says why.
  get ready() {
    return Boolean(this.head) && !this.waiting && this.pictures.every((one) => one.painted || one.failed);
  }

  // -- the view --------------------------------------------------------------------------------------------------------

  set(changes) {
    Object.assign(this.view, changes);
    settle(this.view, this.head.data);
    this.restyle();
    this.tellLater();
  }

  // As `set`, of planes and slices: from now on whole volumes are worth their bytes.
  move(changes) {
    this.set(changes);
    if (this.moved) return;
    this.moved = true;
    this.fetchVolumes();
  }

  async fetchVolumes() {
    await this.underlay.load();
    if (this.truth && this.view.truth) await this.truth.load();
    for (const source of [...this.sources.values()]) await source.load();
  }

  tellLater() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tell(), TELL_AFTER);
  }

  tell() {
    if (!this.head) return;
    const view = { ...this.view, revision: this.revision };
    const text = JSON.stringify(view);
    if (text === this.told) return;
    this.told = text;
    this.component.setStateValue("view", view);
  }

  // -- the numbers -----------------------------------------------------------------------------------------------------

  source(url) {
    const key = stablePart(url);
    if (!this.sources.has(key)) {
      const own = { url, grid: this.grid, dtype: "int16" };
      this.sources.set(key, new Source(own, () => this.arrived(this.sources.get(key))));
      if (this.moved) this.fetchVolumes();
    }
    const found = this.sources.get(key);
    found.renew(url);
    return found;
  }

  arrived(source) {
    // Addresses end after ten minutes: the page is asked for new ones.
    if (source?.failed?.expired && this.head) this.component.setTriggerValue("refresh", Date.now());
    this.redraw();
  }

  range(picture) {
    const { units } = this.head.data;
    const same = this.pictures.filter(({ scaleKey }) => scaleKey === picture.scaleKey);
    return rangeOf(picture, same, this.pictures, this.view, units);
  }

  // -- drawing ---------------------------------------------------------------------------------------------------------

  restyle() {
    for (const picture of this.pictures) picture.painted = false;
    this.redraw();
  }

  redraw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  draw() {
    if (!this.head) return;
    const started = performance.now();
    const { view, head } = this;
    const positions = positionsOf(view, head.data);
    head.controls.update(positions);
    head.root.dataset.state = "ready";
    if (this.note) this.note.textContent = noteOf(view, head.data.truth);
    for (const row of this.rows.values()) row.describe(view.plane, positions);
    const ground = this.ground(positions);
    // What is out of sight waits for a rest.
    const stale = this.pictures.filter(({ painted }) => !painted);
    const due = this.rested ? stale : stale.filter(({ row }) => row.inSight);
    for (const picture of due) this.drawPicture(picture, ground, positions);
    clearTimeout(this.rest);
    if (due.length < stale.length) this.rest = setTimeout(() => this.catchUp(), PAUSE);
    this.drawMs = performance.now() - started;
  }

  catchUp() {
    this.rested = true;
    this.draw();
    this.rested = false;
  }

  // The anatomy under all pictures; null until it has arrived.
  ground(positions) {
    const { plane, side } = this.view;
    const key = `${plane}/${side}/${positions}`;
    if (this.grounds.has(key)) return this.grounds.get(key);
    if (!wantAt(this.underlay, plane, positions, true)) return null;
    if (this.grounds.size > 3) this.grounds.clear();
    const made = Object.assign(new Ground(this.underlay, this.grid, { plane, positions, side }), { key });
    this.grounds.set(key, made);
    return made;
  }

  drawPicture(picture, ground, positions) {
    const { plane, smooth, opacity, colours } = this.view;
    const parts = picture.parts.map(({ url, factor }) => [this.source(url), factor]);
    const shares = picture.opacity ? this.source(picture.opacity) : null;
    const sources = [...parts.map(([source]) => source), ...(shares ? [shares] : [])];
    // All of them are asked, also where the first has not arrived.
    const here = sources.map((source) => wantAt(source, plane, positions, smooth));
    const truth = this.view.truth ? this.truth : null;
    if (truth) here.push(wantAt(truth, plane, positions, true));
    picture.fail([this.underlay, ...sources, ...(truth ? [truth] : [])].find(({ failed }) => failed)?.failed ?? null);
    if (!ground || !here.every(Boolean)) return;
    picture.useValues(`${ground.key}/${smooth}/${parts.map(([, factor]) => factor)}`, ground, parts, shares, smooth);
    const { low, high } = this.range(picture);
    const look = { low, high, unit: picture.unit, signed: picture.signed, opacity };
    look.outline = truth && ground.outline(truth);
    look.colours = this.colours[colours][picture.signed ? "signed" : "absolute"];
    picture.show(paint(picture.canvas, ground, picture.heat, picture.shares, look), look);
  }
}

function noteOf({ side, plane, smooth, truth: outlined }, truth) {
  const at = side === "neurological" ? "left" : "right";
  const name = side[0].toUpperCase() + side.slice(1);
  const words = plane === "sagittal" ? "P is posterior, A anterior" : `${name} convention: L, the left of the subject, is shown at the ${at}`;
  return `${words}. ${smooth ? "Interpolated between voxels" : "True voxels"}, over the 1 mm template.${outlined && truth ? ` Dashed: ${truth.words}.` : ""}`;
}

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
