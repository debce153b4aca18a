// Draws the charts of a page. Each keeps its plot, and Plotly.react changes what has changed; what is below the edge
// of the screen is drawn when it is about to be seen.

const CONFIG = { displayModeBar: false, displaylogo: false, responsive: false };
const AHEAD = "300px 0px"; // of the screen: what is so near is drawn
const LEAST_WIDTH = 150;
const TICK = 0.75, TITLE = 0.875, GAP = 0.5; // of the size of letters, as the theme of Streamlit's charts has them
const REST = 1500; // ms
const HOVERED = 80; // ms until Plotly has drawn a label
const FORWARDS = ["ArrowRight", "ArrowDown"], BACKWARDS = ["ArrowLeft", "ArrowUp"];
const SAVE = `<div class="save" role="group" aria-label="Save this chart">
<button type="button" data-kind="png" title="Save this chart as PNG, twice its size on the screen">PNG</button>
<button type="button" data-kind="svg" title="Save this chart as SVG, to be edited or printed">SVG</button>
<span role="status"></span></div>`;

const plots = new WeakMap();
const all = new Set();
let library = null;
let isWhole = false;

// -- plotly.js: the part of it that charts need, and where that fails, all of it ------------------------------------

async function load(address) {
  await import(new URL(address, location.href).href);
  if (!self.Plotly?.react) throw new Error(`${address} holds no Plotly`);
  return self.Plotly;
}

function plotly([part, whole]) {
  library ??= load(part).catch((error) => {
    console.warn(error);
    return instead(whole);
  });
  library.catch(() => (library = null));
  return library;
}

// Where charts wait below the edge of the screen, plotly.js comes once the page is at rest.
let isExpected = false;
function expect(addresses) {
  if (library || isExpected) return;
  isExpected = true;
  const idle = self.requestIdleCallback ?? setTimeout;
  setTimeout(() => idle(() => plotly(addresses).catch(console.warn)), REST);
}

function instead(whole) {
  isWhole = true;
  return load(whole);
}

// -- the look -------------------------------------------------------------------------------------------------------

function themeOf(root) {
  const style = getComputedStyle(root);
  const read = (name) => style.getPropertyValue(`--st-${name}`).trim();
  const [ink, ground, border, family] = ["text-color", "background-color", "border-color", "font"].map(read);
  return { ink, ground, border, family, size: parseFloat(read("base-font-size")) || 15 };
}

function template({ ink, ground, border, family, size }) {
  const font = { color: ink, family, size: TICK * size };
  const axis = { tickfont: font, title: { font: { ...font, size: TITLE * size } }, gridcolor: border, tickcolor: border };
  return {
    layout: {
      font, margin: { pad: GAP * size, l: 0, r: 0 }, legend: { font, borderwidth: 0 },
      title: { font: { ...font, size, weight: "bold" }, x: 0, xanchor: "left" },
      hoverlabel: { bgcolor: ground, bordercolor: border, font },
      xaxis: { ...axis, showgrid: false, zeroline: false }, yaxis: axis,
    },
  };
}

// -- one chart ------------------------------------------------------------------------------------------------------

class Plot {
  constructor(root, fail) {
    this.root = root;
    this.fail = fail;
    this.seen = false;
    this.width = 0;
    this.drawn = "";
    root.innerHTML = '<div class="place" role="figure"></div><span class="heard" role="status"></span>';
    this.place = root.querySelector(".place");
    this.heard = root.querySelector(".heard");
    this.sight = new IntersectionObserver((entries) => this.look(entries.at(-1).isIntersecting), {
      root: root.closest("[data-testid=stMain]"), rootMargin: AHEAD,
    });
    this.size = new ResizeObserver(([entry]) => this.fit(Math.round(entry.contentRect.width)));
    this.sight.observe(root);
    this.size.observe(root);
    this.place.addEventListener("keydown", (event) => this.press(event));
    root.addEventListener("click", ({ target }) => target.dataset?.kind && this.save(target.dataset.kind));
    all.add(this);
  }

  // Take over what the server has sent last.
  set({ data, setTriggerValue }) {
    const first = this.data === undefined;
    this.data = data;
    this.trigger = setTriggerValue;
    this.place.setAttribute("aria-label", data.words);
    this.place.style.minHeight = `${data.height}px`;
    if (data.clicks) this.place.tabIndex = 0;
    else this.place.removeAttribute("tabindex");
    if (first) this.root.insertAdjacentHTML("beforeend", SAVE);
    this.update();
  }

  look(seen) {
    this.seen = seen;
    this.looked = true;
    this.update();
  }

  fit(width) {
    if (width === this.width) return;
    this.width = width;
    this.update();
  }

  // What the drawing depends on, but for the figure itself: a text that says whether it has to be drawn again.
  lookNow() {
    return JSON.stringify([this.width, themeOf(this.root), this.data.clicks]);
  }

  update() {
    if (this.data === undefined || this.root.dataset.state === "failed") return;
    if (!this.seen || !this.width) {
      this.root.dataset.state = this.looked ? (this.isCurrent() ? "drawn" : "waiting") : "due";
      if (this.looked) expect(this.data.plotly);
      return;
    }
    if (this.isCurrent()) {
      this.root.dataset.state = "drawn";
      return;
    }
    this.root.dataset.state = "due";
    if (self.Plotly?.react) this.draw(self.Plotly);
    else
      plotly(this.data.plotly).then(
        (found) => this.draw(found),
        (error) => this.fail(this.root, error),
      );
  }

  isCurrent() {
    return this.drawn === this.data.figure && this.asDrawn === this.lookNow();
  }

  async draw(Plotly) {
    if (this.ended || this.isCurrent()) return;
    const { figure: text, clicks } = this.data;
    const look = this.lookNow();
    const { data, layout } = JSON.parse(text);
    const drawn = {
      ...layout, width: Math.max(this.width, LEAST_WIDTH), template: template(themeOf(this.root)),
      // What was hidden by a click in the legend stays hidden as long as the same series are shown.
      uirevision: data.map(({ name }) => name ?? "").join("|"),
      hovermode: layout.hovermode ?? "closest", dragmode: layout.dragmode ?? false, clickmode: "event",
    };
    [this.drawn, this.asDrawn] = [text, look];
    try {
      const fresh = !this.place.classList.contains("js-plotly-plot");
      await Plotly.react(this.place, data, drawn, CONFIG);
      if (fresh) this.listen();
      if (!clicks) this.root.classList.remove("over");
      if (!this.ended) this.update();
    } catch (error) {
      if (isWhole) return this.fail(this.root, error);
      console.warn(error);
      this.drawn = "";
      library = instead(this.data.plotly[1]);
      library.then(() => this.update(), (lost) => this.fail(this.root, lost));
    }
  }

  // -- clicks ---------------------------------------------------------------------------------------------------------

  listen() {
    this.place.on("plotly_click", ({ points }) => this.choose(points));
    this.place.on("plotly_hover", ({ points }) =>
      this.root.classList.toggle("over", this.data.clicks && points.some((point) => point.customdata != null)));
    this.place.on("plotly_unhover", () => this.root.classList.remove("over"));
  }

  choose(points) {
    const clicked = points.find(({ customdata }) => customdata != null && customdata !== "");
    if (this.data.clicks && clicked) this.trigger("click", clicked.customdata);
  }

  // Every mark that can be clicked, by trace: where it is, and what it stands for.
  marks() {
    return (this.place._fullData ?? []).flatMap((trace, curveNumber) =>
      trace.visible !== true || trace.hoverinfo === "skip" ? [] : [...(trace.customdata ?? [])].flatMap(
        (customdata, pointNumber) => (customdata == null ? [] :
          [{ customdata, curveNumber, pointNumber, subplot: `${trace.xaxis ?? "x"}${trace.yaxis ?? "y"}` }])));
  }

  press(event) {
    const step = FORWARDS.includes(event.key) - BACKWARDS.includes(event.key);
    const marks = this.data.clicks ? this.marks() : [];
    if (!marks.length || !(step || event.key === "Enter")) return;
    event.preventDefault();
    if (!step) {
      if (marks[this.at]) this.choose([marks[this.at]]);
      return;
    }
    this.at = this.at === undefined ? (step > 0 ? 0 : marks.length - 1) : (this.at + step + marks.length) % marks.length;
    const { curveNumber, pointNumber, subplot } = marks[this.at];
    self.Plotly.Fx.hover(this.place, [{ curveNumber, pointNumber }], subplot);
    clearTimeout(this.reading);
    this.reading = setTimeout(() => {
      const label = [...this.place.querySelectorAll(".hoverlayer .hovertext text")].map((text) =>
        [...text.querySelectorAll("tspan.line")].map((line) => line.textContent).join(", ") || text.textContent);
      this.heard.textContent = label.filter(Boolean).join(": ");
    }, HOVERED);
  }

  async save(kind) {
    const said = this.root.querySelector(".save [role=status]");
    try {
      const { saved, download } = await import(new URL(this.data.save, location.href).href);
      const blob = await saved(this.place, kind);
      if (blob) download(blob, `${this.data.name}.${kind}`);
      said.textContent = blob ? "" : "The chart is not on the page yet";
    } catch (error) {
      console.warn(error);
      said.textContent = `Saving as ${kind.toUpperCase()} failed in this browser`;
    }
    setTimeout(() => (said.textContent = ""), 4000);
  }

  end() {
    this.ended = true;
    this.sight.disconnect();
    this.size.disconnect();
    all.delete(this);
    plots.delete(this.root);
    if (this.place.classList.contains("js-plotly-plot")) self.Plotly?.purge(this.place);
  }
}

// On paper everything is seen.
addEventListener("beforeprint", () => all.forEach((plot) => plot.look(true)));

export function mount(root, component, fail) {
  if (root.dataset.state === "failed") return undefined;
  if (!plots.has(root)) plots.set(root, new Plot(root, fail));
  const plot = plots.get(root);
  plot.set(component);
  return () => plot.end();
}
