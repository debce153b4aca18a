// Draws one plane: anatomy, relevance, outline, crosshair, letters. Knows no events and no page.

import { AXES, ENDS, PLANES, Placement } from "./geometry.js";
import { whole } from "./words.js";

export const INK = "#CDD3D6";
const CROSSHAIR = "rgba(236, 241, 242, 0.78)";
const OUTLINE = "rgba(255, 255, 255, 0.9)";
const ALL_OUTLINES = "rgba(255, 255, 255, 0.42)";
export const TRUTH = "#FF7AE6";
const TRUTH_SHADE = "rgba(0, 0, 0, 0.75)"; // under it, so that it stands out on any colour
const TRUTH_WIDTH = 1.8; // pixels
const TRUTH_DASH = [5, 3];
export const SECOND = "#B4FF39"; // the outline of a second map
const SECOND_WIDTH = 1.6; // pixels
export const TEXT_SHADE = "rgba(0, 0, 0, 0.75)"; // around letters that may stand over a zoomed brain
export const TEXT_SHADE_WIDTH = 3;
const GAP = 7; // pixels around the centre of the crosshair

// `scene`: lattice, layers, outlines. `cursor`: lattice indices. `look`: see layers.js, null without a map.
// Returns the placement, which turns pixels into positions.
export function paintPlane(context, rect, plane, { scene, cursor, map, look, view, small = false, text = null }) {
  const { lattice, layers } = scene;
  const { axis } = PLANES[plane];
  const placement = new Placement(lattice.grid, plane, rect, view, rect.pixelsPerMm);
  context.save();
  context.beginPath();
  context.rect(rect.x, rect.y, rect.width, rect.height);
  context.clip();
  context.fillStyle = "#000";
  context.fillRect(rect.x, rect.y, rect.width, rect.height);
  context.save();
  toLattice(context, placement, lattice, plane);
  const [width, height] = [lattice.width(plane), lattice.height(plane)];
  context.imageSmoothingEnabled = view.anatomy !== "scan" || view.smooth;
  context.drawImage(layers.anatomy(plane, cursor[axis], view, scene.second?.background ?? null), -0.5, -0.5, width, height);
  if (map) {
    context.imageSmoothingEnabled = view.smooth;
    context.globalAlpha = view.opacity;
    context.drawImage(layers.overlay(map, plane, cursor[axis], look), -0.5, -0.5, width, height);
    context.globalAlpha = 1;
  }
  drawOutline(context, scene, plane, cursor, view, placement);
  drawSecond(context, scene, plane, cursor, placement);
  if (view.truth && scene.truth) drawTruth(context, scene, plane, cursor, view, placement);
  context.restore();
  drawCrosshair(context, rect, placement, cursor, plane);
  letters(text ?? canvasText(context), rect, placement, plane, lattice.grid, cursor, small);
  context.restore();
  return placement;
}

function toLattice(context, placement, lattice, plane) {
  const { across, up } = PLANES[plane];
  const size = placement.scale * lattice.grid.step[across];
  const rise = placement.scale * lattice.grid.step[up];
  context.translate(placement.x(0), placement.y(lattice.height(plane) - 1));
  context.scale(placement.flip ? -size : size, rise);
}

function drawOutline(context, scene, plane, cursor, view, placement) {
  if (view.outlines === "none") return;
  const { lattice, outlines } = scene;
  const region = lattice.labels[lattice.grid.offset(cursor)];
  const all = view.outlines === "all";
  if (!all && (region === 0 || scene.rest.includes(region))) return;
  const index = cursor[PLANES[plane].axis];
  context.lineWidth = 1 / placement.scale / lattice.grid.step[PLANES[plane].across];
  context.strokeStyle = all ? ALL_OUTLINES : OUTLINE;
  context.stroke(outlines.path(plane, index, all ? null : region));
}

// Another map over the first, as the outline of what it would colour.
function drawSecond(context, { lattice, second }, plane, cursor, placement) {
  const { axis, across } = PLANES[plane];
  const pixel = 1 / placement.scale / lattice.grid.step[across];
  for (const path of second?.paths(plane, cursor[axis]) ?? []) {
    for (const [colour, width] of [[TRUTH_SHADE, SECOND_WIDTH + 1.4], [SECOND, SECOND_WIDTH]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * pixel;
      context.stroke(path);
    }
  }
}

function drawTruth(context, { lattice, truth }, plane, cursor, { smooth }, placement) {
  const { axis, across } = PLANES[plane];
  const pixel = 1 / placement.scale / lattice.grid.step[across];
  const path = truth.path(plane, cursor[axis], smooth);
  context.lineJoin = "round";
  for (const [colour, width, dash] of [[TRUTH_SHADE, TRUTH_WIDTH + 1.6, []], [TRUTH, TRUTH_WIDTH, TRUTH_DASH]]) {
    context.strokeStyle = colour;
    context.lineWidth = width * pixel;
    context.setLineDash(dash.map((length) => length * pixel));
    context.stroke(path);
  }
  context.setLineDash([]);
}

function drawCrosshair(context, rect, placement, cursor, plane) {
  const { across, up } = PLANES[plane];
  const x = Math.round(placement.x(cursor[across])) + 0.5;
  const y = Math.round(placement.y(cursor[up])) + 0.5;
  context.strokeStyle = CROSSHAIR;
  context.lineWidth = 1;
  context.beginPath();
  for (const [from, to] of [[rect.x, x - GAP], [x + GAP, rect.x + rect.width]]) {
    context.moveTo(from, y);
    context.lineTo(to, y);
  }
  for (const [from, to] of [[rect.y, y - GAP], [y + GAP, rect.y + rect.height]]) {
    context.moveTo(x, from);
    context.lineTo(x, to);
  }
  context.stroke();
}

export function font(pixels, weight = 400) {
  return `${weight} ${pixels}px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif`;
}

export function canvasText(context) {
  return (words, x, y, { size = 12, align = "left", baseline = "alphabetic", colour = INK, weight = 400, upright, shade = false } = {}) => {
    context.save();
    context.translate(x, y);
    if (upright) context.rotate(-Math.PI / 2);
    context.font = font(size, weight);
    context.textAlign = align;
    context.textBaseline = baseline;
    if (shade) {
      Object.assign(context, { strokeStyle: TEXT_SHADE, lineWidth: TEXT_SHADE_WIDTH, lineJoin: "round" });
      context.strokeText(words, 0, 0);
    }
    context.fillStyle = colour;
    context.fillText(words, 0, 0);
    context.restore();
  };
}

function letters(text, rect, placement, plane, grid, cursor, small) {
  const { axis, across, up } = PLANES[plane];
  const size = small ? 11 : 13;
  const ends = placement.flip ? [...ENDS[across]].reverse() : ENDS[across];
  const [right, middle] = [rect.x + rect.width, rect.y + rect.height / 2];
  text(ends[0], rect.x + 5, middle, { size, baseline: "middle", weight: 600, shade: true });
  text(ends[1], right - 5, middle, { size, align: "right", baseline: "middle", weight: 600, shade: true });
  if (!small) {
    const centre = rect.x + rect.width / 2;
    text(ENDS[up][1], centre, rect.y + 5, { size, align: "center", baseline: "top", weight: 600, shade: true });
    text(ENDS[up][0], centre, rect.y + rect.height - 5, { size, align: "center", baseline: "bottom", weight: 600, shade: true });
  }
  const words = `${AXES[axis]} ${whole(grid.mm(axis, cursor[axis]))} mm`;
  text(words, rect.x + 6, rect.y + rect.height - 5, { size: small ? 11 : 12, baseline: "bottom", shade: true });
}
