// The current view as a file: PNG, or SVG with the picture inside and the words as text.

import { paintBar } from "./colourbar.js";
import { MARGIN_MM, PLANES } from "./geometry.js";
import { TEXT_SHADE, TEXT_SHADE_WIDTH, canvasText, paintPlane } from "./paint.js";
import { position, three } from "./words.js";

const WIDTH = 1600;
const EDGE = 28;
const BAR = 110;
const PROFILE = 52;
const COLUMNS = 4;
const HEAD = 78;
const FOOT = 40;
const SCALE = 2; // pixels a unit of the drawing
const FAMILY = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";

function extents(grid, plane) {
  const { across, up } = PLANES[plane];
  return [grid.extent(across) + 2 * MARGIN_MM, grid.extent(up) + 2 * MARGIN_MM];
}

// Where everything stands, in units of the drawing.
function plan(viewer) {
  const { grid } = viewer.scene.lattice;
  const sizes = Object.keys(PLANES).map((plane) => [plane, ...extents(grid, plane)]);
  const scale = (WIDTH - 2 * EDGE - BAR) / sizes.reduce((sum, [, width]) => sum + width, 0);
  const height = scale * Math.max(...sizes.map(([, , high]) => high));
  let x = EDGE;
  const planes = sizes.map(([plane, width]) => {
    const rect = { x, y: HEAD, width: width * scale, height, pixelsPerMm: scale };
    x += rect.width;
    return { plane, rect };
  });
  const bar = { x, y: HEAD, width: BAR, height };
  const top = HEAD + height + PROFILE + 24;
  const [wide, high] = extents(grid, viewer.view.plane);
  const columns = Math.min(COLUMNS, viewer.maps.length);
  const width = (WIDTH - 2 * EDGE) / columns;
  const cell = Math.min((width * high) / wide, 420);
  const panels = viewer.maps.map((shown, i) => ({
    shown,
    rect: { x: EDGE + (i % columns) * width, y: top + 26 + Math.floor(i / columns) * (cell + 84), width, height: cell },
  }));
  const rows = Math.ceil(viewer.maps.length / columns);
  return { planes, bar, panels, height: top + rows * (cell + 84) + FOOT };
}

function draw(viewer, context, text) {
  const { planes, bar, panels, height } = plan(viewer);
  const { scene, index: cursor, view, main, data } = viewer;
  const look = viewer.look(main);
  context.fillStyle = "#000";
  context.fillRect(0, 0, WIDTH, height);
  text(data.scene.label, EDGE, 30, { size: 19, weight: 600 });
  const threshold = `coloured above ${three(look.threshold * look.factor)} ${look.unit}`;
  const truth = view.truth && scene.truth ? [`dashed: ${data.scene.truth.words}`] : [];
  const words = [
    main.entry.title, main.entry.resolution, viewer.regionName, position(viewer.mm), threshold, viewer.sideWords, ...truth,
    ...viewer.second.captions(),
  ];
  text(words.join(" · "), EDGE, 58, { size: 15 });
  for (const { plane, rect } of planes) {
    paintPlane(context, rect, plane, { scene, cursor, map: main, look, view, text });
    const strip = { ...rect, y: rect.y + rect.height, height: PROFILE };
    viewer.strips.find((one) => one.plane === plane).paintOn(context, strip, text);
  }
  paintBar(context, bar, look, text, { opacity: view.opacity, upright: true });
  for (const { shown, rect } of panels) drawPanel(viewer, context, text, shown, rect);
  text(data.notice, EDGE, height - 16, { size: 15, weight: 600 });
  return height;
}

function drawPanel(viewer, context, text, shown, rect) {
  const { map } = shown;
  const entry = map?.entry ?? shown.entry;
  const { scene, index: cursor, view } = viewer;
  const look = map && viewer.look(map);
  context.fillStyle = entry.colour;
  context.fillRect(rect.x + 8, rect.y - 20, 11, 11);
  text(`${entry.title} (${entry.resolution})`, rect.x + 26, rect.y - 10, { size: 14, weight: 600 });
  paintPlane(context, rect, view.plane, { scene, cursor, map, look, view, small: true, text });
  const bar = { x: rect.x, y: rect.y + rect.height, width: rect.width, height: 40 };
  if (map) paintBar(context, bar, look, text, { opacity: view.opacity, upright: false });
}

function canvasOf(height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [WIDTH * SCALE, Math.ceil(height) * SCALE];
  const context = canvas.getContext("2d");
  context.scale(SCALE, SCALE);
  return { canvas, context };
}

function blobOf(canvas) {
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

export async function png(viewer) {
  const { canvas, context } = canvasOf(plan(viewer).height);
  draw(viewer, context, canvasText(context));
  return blobOf(canvas);
}

export async function svg(viewer) {
  const { canvas, context } = canvasOf(plan(viewer).height);
  const words = [];
  const height = draw(viewer, context, (...one) => words.push(one));
  const image = await dataUrl(await blobOf(canvas));
  const size = `width="${WIDTH}" height="${Math.ceil(height)}"`;
  const markup = [
    `<svg xmlns="http://www.w3.org/2000/svg" ${size} viewBox="0 0 ${WIDTH} ${Math.ceil(height)}">`,
    `<image href="${image}" ${size}/>`,
    `<g font-family="${FAMILY}">`,
    ...words.map(textElement),
    "</g></svg>",
  ];
  return new Blob([markup.join("\n")], { type: "image/svg+xml" });
}

function textElement([words, x, y, { size = 12, align = "left", baseline, colour = "#CDD3D6", weight = 400, upright, shade } = {}]) {
  const anchor = { left: "start", center: "middle", right: "end" }[align];
  const drop = { top: 0.8 * size, middle: 0.35 * size, bottom: -0.15 * size }[baseline] ?? 0;
  const turn = upright ? ` transform="rotate(-90 ${x} ${y})"` : "";
  const place = `x="${x.toFixed(1)}" y="${(y + drop).toFixed(1)}" font-size="${size}" font-weight="${weight}"`;
  const under = shade ? ` paint-order="stroke" stroke="${TEXT_SHADE}" stroke-width="${TEXT_SHADE_WIDTH}" stroke-linejoin="round"` : "";
  return `<text ${place} text-anchor="${anchor}" fill="${colour}"${turn}${under}>${escaped(words)}</text>`;
}

function escaped(words) {
  return words.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);
}

function dataUrl(blob) {
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(blob);
  });
}

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
