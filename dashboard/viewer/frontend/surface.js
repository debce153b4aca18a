// Pictures of the cortical surface that name the region and the values under the cursor. The pictures come drawn; an
// index of the vertex behind every pixel comes once, so nothing is asked of the server while the cursor moves.
const NOTHING = 0xffff;
const NO_VALUE = -32768;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const STEP = 6; // pixels of the picture; five times as many with Shift
const HINT = "Move over the cortex to read region and values; click, tap or Enter to keep the place and lead the crosshair there, click it again to let it go.";

const indices = new Map(); // address -> promise of the index and the places

export default function (component) {
  const root = component.parentElement.querySelector(".surface");
  const view = (root.view ??= new Surface(root));
  view.leads = (mm) => component.setTriggerValue("jump", mm);
  view.show(component.data);
  return undefined;
}

class Surface {
  constructor(root) {
    this.root = root;
    this.kept = false;
    this.pixel = null;
    root.innerHTML = '<p class="reading" role="status" aria-live="polite"></p><div class="maps"></div>';
    this.reading = root.querySelector(".reading");
    this.maps = root.querySelector(".maps");
    this.say();
  }

  async show(data) {
    const said = JSON.stringify(data);
    if (said === this.said) return; // a pass of the page that changes nothing here
    this.said = said;
    if (this.address !== data.address) {
      this.kept = false;
      this.pixel = null;
    }
    this.data = data;
    this.address = data.address;
    this.ready = false;
    this.draw();
    try {
      const numbers = (name, Kind) => Promise.all(data.maps.map((map) => unpacked(map[name], Kind)));
      // On the cortex all maps have their places in common; through the brain each has those of its strongest voxels.
      const [places, regions, values] = await Promise.all(
        data.cell
          ? [numbers("places", Int16Array), numbers("regions", Uint16Array), numbers("values", Int16Array)]
          : [places_of(data), unpacked(data.regions, Uint16Array), numbers("values", Int16Array)],
      );
      if (this.data !== data) return;
      const shared = data.cell ? { places: null, regions: null, own: { places, regions } } : { ...places, regions, own: null };
      Object.assign(this, shared, { values, ready: true });
      this.say();
    } catch (error) {
      console.error(error);
      this.reading.textContent =
        "The places on the cortex could not be loaded, so the cursor names no region. The pictures are unharmed; reload the page.";
    }
  }

  draw() {
    this.maps.dataset.count = this.data.maps.length;
    this.maps.replaceChildren(...this.data.maps.map((map, number) => this.figure(map, number)));
    this.marks = [...this.maps.querySelectorAll(".mark")];
    this.tips = [...this.maps.querySelectorAll(".tip")];
    this.place_marks();
  }

  figure(map, number) {
    const figure = document.createElement("figure");
    // `words` is made by the server, its texts escaped.
    figure.innerHTML =
      `<h4></h4><div class="picture" tabindex="0" role="group" aria-label="Arrow keys move over the cortex">` +
      `${map.words}<img alt="" draggable="false"><span class="mark" hidden></span>` +
      '<span class="tip" aria-hidden="true" hidden></span></div><figcaption></figcaption>';
    figure.querySelector("h4").textContent = map.heading;
    figure.querySelector("figcaption").textContent = map.caption;
    const picture = figure.querySelector(".picture");
    const image = figure.querySelector("img");
    image.width = map.width;
    image.height = map.height;
    image.src = `data:image/jpeg;base64,${map.image}`;
    const at = (event) => {
      const box = image.getBoundingClientRect();
      const scale = map.width / box.width;
      return [Math.floor((event.clientX - box.left) * scale), Math.floor((event.clientY - box.top) * scale)];
    };
    const here = (act) => (event) => {
      if (!this.kept || event.type !== "pointermove") this.under = number;
      act(event);
    };
    picture.addEventListener("pointermove", here((event) => this.kept || this.move(at(event))));
    picture.addEventListener("pointerleave", () => this.kept || this.move(null));
    picture.addEventListener("click", here((event) => this.click(at(event))));
    picture.addEventListener("keydown", here((event) => this.key(event)));
    return figure;
  }

  vertex(pixel) {
    if (!pixel || !this.ready) return null;
    const { width, height } = this.data;
    if (pixel[0] < 0 || pixel[1] < 0 || pixel[0] >= width || pixel[1] >= height) return null;
    if (this.data.cell) return this.cellAt(pixel);
    const found = this.index[pixel[1] * width + pixel[0]];
    return found === NOTHING ? null : found;
  }

  // Through the brain: the cell of a pixel, in which the voxel behind it is known; null beside the brain.
  cellAt([x, y]) {
    const { cell, tile, cells } = this.data;
    const across = tile[0] > x ? 0 : 1;
    const down = tile[1] > y ? 0 : 1;
    const [columns, rows] = cells;
    const column = Math.floor((x - across * tile[0]) / cell);
    const row = Math.floor((y - down * tile[1]) / cell);
    const found = ((2 * down + across) * rows + row) * columns + column;
    return this.own.regions[0][found] === NOTHING ? null : found;
  }

  // A pixel that shows a cell.
  pixelOf(found) {
    const { cell, tile, cells } = this.data;
    const [columns, rows] = cells;
    const side = Math.floor(found / (rows * columns));
    const [row, column] = [Math.floor(found / columns) % rows, found % columns];
    return [(side % 2) * tile[0] + column * cell, Math.floor(side / 2) * tile[1] + row * cell];
  }

  placeOf(vertex) {
    const places = this.own ? this.own.places[this.under ?? 0] : this.places;
    return [0, 1, 2].map((axis) => places[3 * vertex + axis] / 10);
  }

  move(pixel) {
    this.pixel = this.vertex(pixel) === null ? null : pixel;
    this.place_marks();
    this.say();
  }

  click(pixel) {
    const near = this.kept && this.pixel && Math.hypot(pixel[0] - this.pixel[0], pixel[1] - this.pixel[1]) < 2 * STEP;
    this.kept = !near && this.vertex(pixel) !== null;
    this.move(pixel);
    if (this.kept) this.lead();
  }

  // The crosshair and the slices of the page follow to the place that is kept.
  lead() {
    const vertex = this.vertex(this.pixel);
    this.leads(this.placeOf(vertex));
  }

  key(event) {
    if (event.key === "Enter" && this.kept) {
      this.lead();
      return;
    }
    if (event.key === "Escape") {
      this.kept = false;
      this.move(null);
      return;
    }
    if (!(event.key in ARROWS) || !this.ready) return;
    event.preventDefault();
    const [right, down] = ARROWS[event.key];
    const far = STEP * (event.shiftKey ? 5 : 1);
    const from = this.pixel ?? this.first();
    const to = this.pixel ? [from[0] + far * right, from[1] + far * down] : from;
    if (this.vertex(to) === null) return;
    this.kept = true;
    this.move(to);
  }

  // The pixel that shows the strongest vertex, else the first pixel of the brain.
  first() {
    if (this.data.cell) return this.pixelOf(this.data.start);
    const found = this.index.indexOf(this.data.start ?? NOTHING - 1);
    const pixel = found < 0 ? this.index.findIndex((vertex) => vertex !== NOTHING) : found;
    return [pixel % this.data.width, Math.floor(pixel / this.data.width)];
  }

  place_marks() {
    this.marks?.forEach((mark, number) => {
      const { width, height } = this.data.maps[number];
      mark.hidden = !this.pixel;
      mark.dataset.kept = this.kept;
      if (!this.pixel) return;
      mark.style.left = `${(100 * (this.pixel[0] + 0.5)) / width}%`;
      mark.style.top = `${(100 * (this.pixel[1] + 0.5)) / height}%`;
    });
  }

  say() {
    const vertex = this.vertex(this.pixel);
    this.root.dataset.vertex = vertex ?? "";
    this.root.dataset.ready = Boolean(this.ready);
    for (const tip of this.tips ?? []) tip.hidden = true;
    if (vertex === null) {
      this.reading.innerHTML = '<span class="hint"></span>';
      this.reading.firstChild.textContent = this.data?.cell ? HINT.replace("cortex", "brain") : HINT;
      return;
    }
    const { maps, names, left } = this.data;
    const values = maps.map((map, number) => {
      const value = this.values[number][vertex];
      return `${map.heading} ${value === NO_VALUE ? "no value" : written(value * map.step)}`;
    });
    const nothing = this.values.every((own) => own[vertex] === NO_VALUE);
    const through = this.data.cell ? "strongest on this line of sight" : "";
    const side = through || (vertex < left ? "left hemisphere" : "right hemisphere");
    const mm = this.placeOf(vertex).map((one) => minus(String(Math.round(one)))).join(", ");
    const regions = this.own ? this.own.regions[this.under ?? 0] : this.regions;
    const name = names[regions[vertex]] ?? (nothing ? "No cortex of this brain" : "No area of the atlas");
    const bold = document.createElement("b");
    bold.textContent = name;
    const units = [...new Set(maps.map((map) => map.unit))].join(", ");
    const said = nothing ? "on the medial wall, or outside the brain mask" : `${values.join(" · ")} (${units})`;
    this.tip(name, vertex);
    this.reading.replaceChildren(bold, ` · ${side}, (${mm}) mm`, document.createElement("br"), said);
  }

  // Beside the mark in the picture under the cursor, on the side where there is room.
  tip(name, vertex) {
    const tip = this.tips[this.under];
    const map = this.data.maps[this.under];
    if (!tip) return;
    const value = this.values[this.under][vertex];
    tip.textContent = value === NO_VALUE ? name : `${name}: ${written(value * map.step)}`;
    const [x, y] = [this.pixel[0] / map.width, this.pixel[1] / map.height];
    tip.style.left = x < 0.5 ? `calc(${100 * x}% + 12px)` : "auto";
    tip.style.right = x < 0.5 ? "auto" : `calc(${100 * (1 - x)}% + 12px)`;
    tip.style.top = y < 0.5 ? `calc(${100 * y}% + 12px)` : "auto";
    tip.style.bottom = y < 0.5 ? "auto" : `calc(${100 * (1 - y)}% + 12px)`;
    tip.hidden = false;
  }
}

async function places_of(data) {
  if (!indices.has(data.address)) {
    const asked = fetch(new URL(data.address, location.href)).then(async (answer) => {
      if (!answer.ok) throw new Error(`${answer.status} ${data.address}`);
      const bytes = await answer.arrayBuffer();
      const pixels = data.width * data.height;
      return { index: new Uint16Array(bytes, 0, pixels), places: new Int16Array(bytes, 2 * pixels) };
    });
    indices.set(data.address, asked);
    asked.catch(() => indices.delete(data.address));
  }
  return indices.get(data.address);
}

async function unpacked(text, Kind) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Kind(await new Response(stream).arrayBuffer());
}

function written(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return minus(size < 1e-4 || size >= 1e5 ? value.toExponential(2) : Number(value.toPrecision(3)).toString());
}

function minus(text) {
  return text.replace("-", "−");
}
