// Brings a patient's volumes to the viewer, says how far it is, and what went wrong.

import { agreedMap } from "./agreement.js";
import { element } from "./dom.js";
import { Grid, Lattice } from "./geometry.js";
import { HeatMap } from "./heatmaps.js";
import { Layers } from "./layers.js";
import { LoadingError, loadVolume } from "./loading.js";
import { Outlines, TruthOutline } from "./outlines.js";

const PATIENCE = 2000; // ms that the server has to send new addresses

export class Opening {
  constructor(viewer) {
    this.viewer = viewer;
    this.message = element("div", { className: "message", role: "status" });
    this.renewed = false;
  }

  get root() {
    return this.viewer.root;
  }

  async open(scene) {
    this.abort?.abort();
    clearTimeout(this.again);
    const { signal } = (this.abort = new AbortController());
    this.root.dataset.state = "loading";
    this.message.replaceChildren();
    await this.attempt(async () => {
      await this.load(scene, signal);
      if (signal.aborted) return;
      this.root.dataset.state = "ready";
      this.renewed = false;
    });
  }

  // Does what takes time and says what went wrong; what was given up in the meantime is left alone.
  async attempt(work) {
    const { signal } = this.abort;
    try {
      await work(signal);
      if (signal.aborted) return;
      this.message.replaceChildren();
    } catch (error) {
      if (!signal.aborted) this.fail(error);
    }
    this.viewer.restyle();
  }

  progress(what) {
    return (part) => this.say(`Loading the ${what}: ${Math.floor(100 * part)} %`);
  }

  // The anatomy first, then the main map, then the others: each is shown as soon as it is there.
  async load(scene, signal) {
    const fetching = this.fetcher(scene, signal);
    const numbers = scene.maps.map((entry) => entry.volume && fetching(entry.volume, entry.method));
    // Failures are met below, one after the other.
    for (const one of numbers) one?.catch(() => {});
    const [brain, labels] = await Promise.all([fetching(scene.anatomy, "anatomy"), fetching(scene.atlas, "atlas")]);
    if (signal.aborted) return;
    const lattice = this.latticeOf(scene, brain.data, labels.data);
    this.viewer.useScene({ lattice, layers: new Layers(lattice, null), outlines: new Outlines(lattice), rest: scene.rest });
    const working = new Grid([Infinity, Infinity, Infinity], scene.origin, scene.step);
    const main = scene.maps.findIndex(({ method }) => method === this.viewer.view.method);
    for (const i of new Set([main, ...scene.maps.keys()])) {
      const loaded = await numbers[i];
      if (signal.aborted) return;
      this.viewer.useMap(i, new HeatMap(scene.maps[i], loaded, lattice, working));
      await new Promise((resolve) => setTimeout(resolve));
    }
  }

  // The same for all scenes of one run.
  latticeOf(scene, brain, labels) {
    const kept = this.lattice;
    if (kept?.brain !== brain || kept?.labels !== labels) this.lattice = new Lattice(Grid.of(scene.anatomy), brain, labels);
    return this.lattice;
  }

  fetcher(scene, signal) {
    const parts = new Map();
    const count = scene.maps.filter(({ volume }) => volume).length + 2;
    return (volume, key) =>
      loadVolume(
        volume,
        (fraction) => {
          parts.set(key, fraction);
          const arrived = [...parts.values()].reduce((sum, part) => sum + part, 0) / count;
          if (!signal.aborted) this.say(`Loading the volumes: ${Math.floor(100 * arrived)} %`);
        },
        signal,
      );
  }

  // The patient's own volume, which is fetched when it is first wanted.
  async openScan(volume, scene) {
    await this.attempt(async (signal) => {
      const { data } = await loadVolume(volume, this.progress("scan"), signal);
      if (!signal.aborted) scene.layers = new Layers(scene.lattice, { data, grid: Grid.of(volume) });
    });
  }

  // What was imposed on a simulated brain, which is fetched when it is first wanted.
  async openTruth({ volume }, scene) {
    await this.attempt(async (signal) => {
      const { data } = await loadVolume(volume, this.progress("truth"), signal);
      if (!signal.aborted) scene.truth = new TruthOutline(data, Grid.of(volume), scene.lattice);
    });
  }

  // The mean over networks and where they agree, of every method that has it, when it is first wanted.
  async openAgreement(entries, scene) {
    await this.attempt(async (signal) => {
      for (const [i, entry] of entries.entries()) {
        if (!entry.agreement) continue;
        const loaded = await loadVolume(entry.agreement.volume, this.progress("networks"), signal);
        if (signal.aborted) return;
        this.viewer.useAgreed(i, agreedMap(entry, loaded, scene.lattice));
      }
    });
  }

  say(words) {
    if (this.root.dataset.state !== "error") this.message.textContent = words;
  }

  fail(error) {
    if (!(error instanceof LoadingError)) console.error(error);
    this.root.dataset.state = "error";
    const words = error instanceof LoadingError ? error.message : "The volumes could not be shown.";
    const retry = element("button", { type: "button", onclick: () => this.retry(error) }, "Try again");
    this.message.replaceChildren(element("span", {}, `${words} The results are unharmed.`), retry);
    // Addresses end after ten minutes: ask for new ones once, without bothering the reader.
    if (error.expired && !this.renewed) {
      this.renewed = true;
      this.retry(error);
    }
  }

  // New addresses come from the server, in a pass that it is asked for. Within a minute they are the same again, and
  // then the viewer is not called.
  retry({ expired }) {
    if (expired) this.viewer.component.setTriggerValue("refresh", Date.now());
    clearTimeout(this.again);
    this.again = setTimeout(() => this.viewer.open(this.viewer.data.scene), expired ? PATIENCE : 0);
  }

  stop() {
    this.abort?.abort();
    clearTimeout(this.again);
  }
}
