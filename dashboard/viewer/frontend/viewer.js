// The viewer: one patient or some groups, one state, one crosshair. Built once; Streamlit calls `mount` again in each of its passes.

import { AgreementSwitch, ShownMap } from "./agreement.js";
import { ColourBar } from "./colourbar.js";
import { Controls } from "./controls.js";
import { handle } from "./debug.js";
import { element } from "./dom.js";
import { AXES, Grid, MARGIN_MM, PLANES } from "./geometry.js";
import { HelpDialog } from "./help.js";
import { lookOf, thresholdFor } from "./looks.js";
import { Methods } from "./methods.js";
import { Opening } from "./opening.js";
import { CursorPanel } from "./panel.js";
import { save } from "./picture.js";
import { PlaneView, planeFigure } from "./planes.js";
import { Pool } from "./pools.js";
import { ProfileStrip } from "./profile.js";
import { NOT_OF_THIS_RUN, SecondMap } from "./second.js";
import { Sieve } from "./sieve.js";
import { Tools } from "./tools.js";
import { TruthSwitch } from "./truth.js";
import { Zoom } from "./zoom.js";

const TELL_AFTER = 400; // ms of rest before the server hears of a change
const SLOW = 28; // ms between frames from which a computer is slow: then fine pixels and small panels wait
const PAUSE = 120; // ms of rest until all is sharp; and between pictures of the small panels meanwhile

let calls = 0;

export function mount(root, component) {
  const viewer = (root.__instance ??= new Viewer(root));
  stayBright(root);
  const call = ++calls;
  viewer.call = call;
  viewer.receive(component);
  // Streamlit may end an earlier call after a later one has begun: only the last one may take the viewer down.
  return () => {
    if (viewer.call === call) viewer.stop();
  };
}

// Streamlit greys out elements while a pass runs; the reader is still dragging in this one.
function stayBright(root) {
  const host = root.getRootNode().host ?? root;
  host.closest('[data-testid="stElementContainer"]')?.style.setProperty("opacity", "1", "important");
}

class Viewer {
  constructor(root) {
    Object.assign(this, { root, scene: null, maps: [], view: null, waiting: false, told: "", looks: new Map() });
    Object.assign(this, { styled: false, pace: 0, hurried: false, frameAt: 0, methodsAt: 0, drawMs: 0 });
    this.zoom = new Zoom(this);
    this.hand = false;
    this.opening = new Opening(this);
    this.sieve = new Sieve(() => this.restyle());
    this.controls = new Controls(this);
    this.panel = new CursorPanel(this);
    this.methods = new Methods(this);
    this.dialog = new HelpDialog();
    this.truth = new TruthSwitch(this);
    this.agreement = new AgreementSwitch(this);
    this.second = new SecondMap(this);
    this.tools = new Tools(this);
    this.planes = Object.keys(PLANES).map((plane) => new PlaneView(this, { plane: () => plane, map: () => this.main }));
    this.strips = Object.keys(PLANES).map((plane) => new ProfileStrip(this, plane));
    this.bar = new ColourBar(this, "upright");
    this.build();
    root.__viewer = handle(this);
  }

  build() {
    this.notes = element("p", { className: "notes" });
    const views = this.planes.map((view, i) => planeFigure(view, this.strips[i]));
    const picture = element("div", { className: "picture" }, ...views, this.bar.canvas, this.opening.message);
    const switches = [this.agreement.element, this.truth.element, this.second.element];
    const foot = element("div", { className: "foot" }, element("div", {}, this.notes, ...switches), this.tools.element);
    const stage = element("div", { className: "stage" }, picture, foot);
    const top = element("div", { className: "top" }, stage, this.panel.element);
    const parts = [this.controls.element, top, this.methods.element, this.dialog.element];
    const frame = element("div", { className: "frame" }, ...parts);
    this.second.listen(frame);
    this.root.replaceChildren(frame);
  }

  // What Python says in a pass. Its options count at first, and when the revision has changed.
  receive(component) {
    const before = this.data;
    this.component = component;
    this.data = component.data;
    const { scene, options, revision } = this.data;
    const revised = before?.revision !== revision;
    if (before === undefined || revised) this.view = { ...options };
    if (!scene.maps.some(({ method }) => method === this.view.method)) this.view.method = scene.maps[0].method;
    if (before?.scene.identity !== scene.identity || this.root.dataset.state === "error") this.open(scene);
    else if (revised) this.place();
    if (before && revised) this.tellLater();
    this.restyle();
  }

  open(scene) {
    this.maps = scene.maps.map((entry) => new ShownMap(this, entry));
    this.scene = null;
    this.scanAsked = this.truthAsked = this.agreementAsked = false;
    this.reserve(scene);
    this.opening.open(scene);
  }

  useScene(scene) {
    this.scene = scene;
    scene.second = this.second;
    this.second.useScene(scene);
    this.index = scene.lattice.grid.shape.map((size) => Math.floor(size / 2));
    if (this.view.mm) this.place();
    this.restyle();
  }

  useMap(place, map) {
    this.maps[place].own = map;
    if (map === this.main) this.place();
    this.restyle();
  }

  useAgreed(place, map) {
    this.maps[place].agreed = map;
    if (map === this.main) this.place();
    this.restyle();
  }

  // Room for everything before anything has arrived, so that nothing jumps.
  reserve(scene) {
    const grid = Grid.of(scene.anatomy);
    const size = (axis) => grid.extent(axis) + 2 * MARGIN_MM;
    const planes = Object.entries(PLANES);
    const put = (name, value) => this.root.style.setProperty(`--${name}`, value);
    put("tallest", Math.max(...planes.map(([, { up }]) => size(up))));
    put("widest", Math.max(...planes.map(([, { across }]) => size(across))));
    put("columns", planes.map(([, { across }]) => `minmax(0, ${size(across)}fr)`).join(" "));
    for (const [plane, { across, up }] of planes) {
      put(`${plane}-width`, size(across));
      put(`${plane}-height`, size(up));
    }
  }

  // -- state -----------------------------------------------------------------------------------------------------

  get main() {
    return this.maps.find(({ entry }) => entry.method === this.view.method)?.map ?? null;
  }

  get mm() {
    return this.index.map((index, axis) => this.scene.lattice.grid.mm(axis, index));
  }

  get label() {
    return this.scene.lattice.labels[this.scene.lattice.grid.offset(this.index)];
  }

  get regionName() {
    return this.label === 0 ? "Outside the brain" : (this.data.scene.regions[this.label] ?? "No region");
  }

  get sideWords() {
    const [name, side] = this.view.convention === "neurological" ? ["Neurological", "left"] : ["Radiological", "right"];
    return `${name} convention: the subject's left is at the ${side}`;
  }

  figures(method, label) {
    const row = this.data.figures[method]?.[label];
    return row && { share: row[0], percentile: row[1], n: row[2], mean: row[3] };
  }

  get ready() {
    return this.maps.map((one) => one.map).filter(Boolean);
  }

  // Averages under one crosshair, in the place of the heatmaps of a patient: of groups, or of one group by several methods.
  get ofGroups() {
    return this.data.scene.kind !== "patient";
  }

  look(map) {
    if (!this.looks.has(map)) this.looks.set(map, lookOf(map, this.main ?? map, this.ready, this.view, this.data.colours));
    return this.looks.get(map);
  }

  set(changes) {
    Object.assign(this.view, changes);
    this.restyle();
    this.tellLater();
  }

  // As `set`, for choices that change what a threshold means: the same part of the brain stays coloured.
  choose(key, value) {
    const uncoloured = this.uncoloured();
    this.view[key] = value;
    // Averages of groups have one unit: a value means the same in each.
    const scaled = this.data.scene.kind === "groups" ? [] : ["method", "scale"];
    const means = key === "threshold_kind" || (this.view.threshold_kind === "absolute" && scaled.includes(key));
    if (means && uncoloured !== undefined) this.keepUncoloured(uncoloured);
    this.set({});
  }

  // The mean over networks has another unit: a threshold in values becomes the same part of the brain.
  chooseAgreement(agreement) {
    const uncoloured = this.uncoloured();
    if (this.view.threshold_kind === "absolute" && uncoloured !== undefined) {
      this.view.threshold_kind = "percentile";
      this.keepUncoloured(uncoloured);
    }
    this.set({ agreement });
  }

  // How much of the brain the threshold leaves without colour, in percent.
  uncoloured() {
    return this.main ? Pool.of(this.main, this.ready).rank(this.look(this.main).threshold) : undefined;
  }

  keepUncoloured(percent) {
    if (this.main) this.view.threshold = thresholdFor(percent, Pool.of(this.main, this.ready), this.view);
  }

  moveTo(index) {
    if (!this.scene) return;
    const { shape } = this.scene.lattice.grid;
    const next = index.map((value, axis) => Math.min(Math.max(value, 0), shape[axis] - 1));
    if (next.every((value, axis) => value === this.index[axis])) return;
    this.index = next;
    this.view.mm = this.mm;
    this.zoom.follow();
    this.redraw();
    this.tellLater();
  }

  // Of a zoomed picture back to the whole brain, else to the strongest relevance.
  home() {
    if (this.view.zoom > 1) this.zoom.reset();
    else this.goToStrongest();
  }

  useHand() {
    this.hand = !this.hand;
    this.restyle();
  }

  goToStrongest() {
    if (this.main) this.moveTo(this.main.strongest());
  }

  // The crosshair where the state says; without a place, at the strongest relevance.
  place() {
    if (!this.scene) return;
    const { grid } = this.scene.lattice;
    if (!this.view.mm && !this.main) return;
    const before = String(this.view.mm);
    this.index = this.view.mm?.map((mm, axis) => grid.clamped(axis, mm)) ?? [...this.main.strongest()];
    this.view.mm = this.mm;
    if (this.view.zoom > 1) this.view.centre ??= this.mm;
    if (String(this.mm) !== before) this.tellLater();
  }

  tellLater() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tell(), TELL_AFTER);
  }

  tell() {
    if (this.scene) this.panel.announce();
    const view = { ...this.view, revision: this.data.revision };
    const text = JSON.stringify(view);
    if (text === this.told) return;
    this.told = text;
    this.component.setStateValue("view", view);
  }

  // -- drawing ---------------------------------------------------------------------------------------------------

  // Something other than the crosshair has changed.
  restyle() {
    this.styled = false;
    this.looks.clear();
    this.redraw();
  }

  redraw() {
    if (this.waiting || this.stopped) return;
    this.waiting = true;
    requestAnimationFrame((now) => {
      this.waiting = false;
      if (!this.stopped) this.draw(now);
    });
  }

  draw(now) {
    const started = performance.now();
    this.watchPace(now);
    if (!this.styled) this.style();
    if (this.scene && this.root.dataset.state !== "error") {
      this.drawPlanes();
      this.bar.paint(this.main);
      this.drawMethods(now);
      this.panel.update();
    }
    this.drawMs = performance.now() - started;
  }

  style() {
    this.styled = true;
    this.controls.update();
    this.methods.update();
    this.notes.textContent = this.noteWords();
    this.tools.update();
    this.truth.update();
    this.agreement.update();
    this.second.update();
    if (!this.scene) return;
    this.wantScan();
    this.wantTruth();
    this.wantAgreement();
    for (const { map } of this.maps) {
      if (!map) continue;
      const { threshold, sign } = this.look(map);
      this.sieve.want(map, { minimum: this.view.cluster, threshold, sign });
    }
  }

  wantScan() {
    const { scan } = this.data.scene;
    if (this.scanAsked || this.view.anatomy !== "scan" || !scan) return;
    this.scanAsked = true;
    this.opening.openScan(scan, this.scene);
  }

  wantTruth() {
    const { truth } = this.data.scene;
    if (this.truthAsked || !this.view.truth || !truth) return;
    this.truthAsked = true;
    this.opening.openTruth(truth, this.scene);
  }

  wantAgreement() {
    if (this.agreementAsked || !this.view.agreement) return;
    this.agreementAsked = true;
    this.opening.openAgreement(this.data.scene.maps, this.scene);
  }

  noteWords() {
    const { scene } = this.data;
    const own = this.view.anatomy === "scan" ? `this scan, ${scene.step[0]} mm` : "the template, 1 mm";
    const under = this.second.background ? `${this.second.background.name} (${NOT_OF_THIS_RUN})` : own;
    const { title, resolution } = this.main?.entry ?? scene.maps.find(({ method }) => method === this.view.method);
    return `${this.sideWords}. ${title}: ${resolution}, over ${under}.`;
  }

  drawPlanes() {
    const rects = this.planes.map((view) => view.size());
    const pixelsPerMm = Math.min(...rects.flatMap((rect, i) => (rect ? [this.planes[i].fitting(rect)] : [])));
    rects.forEach((rect, i) => rect && this.planes[i].paint({ ...rect, pixelsPerMm }));
    for (const strip of this.strips) strip.paint();
  }

  watchPace(now) {
    const gap = now - this.frameAt;
    this.frameAt = now;
    this.pace = gap < 2 * PAUSE ? 0.7 * this.pace + 0.3 * gap : 0;
    this.hurried ||= this.pace > SLOW;
    clearTimeout(this.rest);
    if (!this.hurried) return;
    this.rest = setTimeout(() => {
      // The pause itself is no slow frame: counted as one, it would be followed by the next, for ever.
      Object.assign(this, { hurried: false, pace: 0, frameAt: -Infinity });
      this.redraw();
    }, PAUSE);
  }

  drawMethods(now) {
    if (this.hurried && now - this.methodsAt < PAUSE) return;
    this.methodsAt = now;
    this.methods.paint();
  }

  help() {
    this.dialog.open();
  }

  async save(make, ending) {
    if (!this.main) return;
    const place = this.mm.map((mm, axis) => `${AXES[axis]}${Math.round(mm)}`).join("_");
    const what = this.view.method.replace(/\u2212/g, "minus").replace(/[^\p{L}\p{N}._-]+/gu, "-");
    save(await make(this), `brainwhy_${what}_${place}.${ending}`);
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    clearTimeout(this.rest);
    for (const part of [this.opening, this.sieve, this.methods, ...this.planes, ...this.strips, this.bar]) part.stop();
    delete this.root.__instance;
  }
}
