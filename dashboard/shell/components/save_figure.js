// Saves a Plotly chart as it stands on the page. A chart is several SVG layers, and canvases where it is drawn in 3D;
// they become one SVG file of its own, or its picture at twice the size.

const NS = "http://www.w3.org/2000/svg";
const PNG_SCALE = 2;
// What the style sheets of the page may have set on words; the rest Plotly writes into the elements themselves.
const TEXT_STYLES = ["font-family", "font-size", "font-weight", "font-style", "fill", "text-anchor"];

// The class that Streamlit gives an element with a key.
function classOf(key) {
  return key.trim().replace(/[^a-zA-Z0-9_-]/g, "-");
}

function background() {
  const colour = getComputedStyle(document.querySelector(".stApp") ?? document.body).backgroundColor;
  return /^(transparent|rgba\(.*, 0\))$/.test(colour) ? "#ffffff" : colour;
}

// A layer without what is invisible, its words with the fonts and colours they have on the page.
function copied(layer) {
  const copy = layer.cloneNode(true);
  const words = layer.querySelectorAll("text, tspan");
  copy.querySelectorAll("text, tspan").forEach((word, i) => {
    const seen = getComputedStyle(words[i]);
    for (const style of TEXT_STYLES) word.style.setProperty(style, seen.getPropertyValue(style));
  });
  copy.querySelectorAll(".hoverlayer, .drag, .draglayer, .nsewdrag, .cursor-pointer[opacity='0']").forEach((e) => e.remove());
  return copy;
}

function picture(source, box, frame) {
  const image = document.createElementNS(NS, "image");
  const place = { x: box.left - frame.left, y: box.top - frame.top, width: box.width, height: box.height };
  for (const [name, value] of Object.entries(place)) image.setAttribute(name, value);
  image.setAttribute("href", source);
  image.setAttribute("preserveAspectRatio", "none");
  return image;
}

// A 3D scene forgets its pixels once they are on the screen: it is asked to draw itself again.
function canvases(plot, frame) {
  const scenes = (plot._fullLayout?._subplots?.gl3d ?? []).map((name) => plot._fullLayout[name]._scene);
  const drawn = scenes.map((scene) => picture(scene.toImage("png"), scene.container.getBoundingClientRect(), frame));
  const own = new Set(scenes.flatMap((scene) => [...scene.container.querySelectorAll("canvas")]));
  for (const canvas of plot.querySelectorAll(".gl-container canvas")) {
    const box = canvas.getBoundingClientRect();
    if (!own.has(canvas) && box.width > 0) drawn.push(picture(canvas.toDataURL("image/png"), box, frame));
  }
  return drawn;
}

function merged(plot) {
  const layers = [...plot.querySelectorAll("svg.main-svg")];
  if (layers.length === 0) return null;
  const frame = layers[0].getBoundingClientRect();
  const [width, height] = [frame.width, frame.height].map(Math.ceil);
  const svg = document.createElementNS(NS, "svg");
  for (const [name, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` }))
    svg.setAttribute(name, value);
  const ground = document.createElementNS(NS, "rect");
  for (const [name, value] of Object.entries({ width, height, fill: background() })) ground.setAttribute(name, value);
  svg.append(ground);
  layers.forEach((layer, number) => {
    svg.append(copied(layer));
    if (number === 0) svg.append(...canvases(plot, frame));
  });
  svg.querySelectorAll("svg").forEach((layer) => {
    layer.removeAttribute("class");
    layer.style.removeProperty("position");
    layer.style.setProperty("background", "none");
  });
  // Clip paths are named by the address of the page; in a file of its own they are just names.
  const text = new XMLSerializer().serializeToString(svg).replace(/url\((&quot;|['"]?)[^#()'"&]*#([^)'"&]+)\1\)/g, "url(#$2)");
  return { text, width, height };
}

async function rasterised({ text, width, height }) {
  const image = new Image();
  image.src = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  try {
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width * PNG_SCALE, height * PNG_SCALE];
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((done, failed) =>
      canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("empty picture"))), "image/png"));
  } finally {
    URL.revokeObjectURL(image.src);
  }
}

export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// A Plotly chart as a file; null if it has not been drawn.
export async function saved(plot, kind) {
  const figure = plot && merged(plot);
  if (!figure) return null;
  return kind === "png" ? await rasterised(figure) : new Blob([figure.text], { type: "image/svg+xml" });
}

export default function ({ parentElement, data }) {
  const box = parentElement.querySelector(".save");
  box.dataset.key = data.key;
  box.dataset.name = data.name;
  if (box.dataset.ready) return;
  box.dataset.ready = "yes";
  const said = box.querySelector("[role=status]");
  const say = (words) => {
    said.textContent = words;
    setTimeout(() => (said.textContent = ""), 4000);
  };
  box.addEventListener("click", async ({ target }) => {
    const kind = target.dataset?.kind;
    if (!kind) return;
    try {
      const plot = document.querySelector(`.st-key-${classOf(box.dataset.key)} .js-plotly-plot`);
      const blob = await saved(plot, kind);
      if (!blob) return say("The chart is not on the page yet");
      download(blob, `${box.dataset.name}.${kind}`);
    } catch (error) {
      console.warn(error);
      say(`Saving as ${kind.toUpperCase()} failed in this browser`);
    }
  });
}
