// What a view of slices means: where they are cut, and where colour starts and ends. As views/group_maps/slices.py.

import { AXES, PLANES } from "./geometry.js";

const TOP_PERCENTILE = 99.5;
export const PAPER = "paper";
export const COUNTS = { [PAPER]: "The paper’s", 1: "1", 3: "3", 5: "5", 7: "7" };

export function axisOf(plane) {
  return AXES[PLANES[plane].axis];
}

// Make a view whole: only coronal slices are the paper's, centres lie within the brain, every unit has its place.
export function settle(view, { extents, units }) {
  if (view.n === PAPER && view.plane !== "coronal") view.n = "3";
  const [low, high] = extents[view.plane];
  const axis = axisOf(view.plane);
  view[axis] = Math.min(Math.max(view[axis], low), high);
  view.at = Object.fromEntries(view.rule === "value" ? units.map((unit) => [unit, view.at[unit] ?? null]) : []);
}

// The mm of the slices: the paper's, or spread evenly over the brain around the centre.
export function positionsOf(view, { extents, paper }) {
  if (view.n === PAPER) return paper;
  const [low, high] = extents[view.plane];
  const [count, centre] = [Number(view.n), view[axisOf(view.plane)]];
  const step = (high - low) / (count + 1);
  return Array.from({ length: count }, (_, k) => {
    const mm = centre + step * (k - (count - 1) / 2);
    return whole(Math.min(Math.max(mm, low), high));
  });
}

// The nearest whole number, of two the even one.
function whole(value) {
  const down = Math.floor(value);
  const rest = value - down;
  if (rest !== 0.5) return Math.round(value);
  return down % 2 === 0 ? down : down + 1;
}

// Where colour starts and ends: from a percentile of the sizes in all pictures of a scale, or a value, to the top.
export function rangeOf(picture, same, all, view, units) {
  const pooled = sorted(same);
  let low = quantile(pooled, view.rule === "percentile" ? view.from : 0);
  let high = quantile(pooled, TOP_PERCENTILE);
  if (view.rule === "value" && units.includes(picture.unit)) low = view.at[picture.unit] ?? suggested(picture.unit, all);
  if (high <= low) high = pooled.length ? pooled[pooled.length - 1] : 0;
  if (high <= low) high = low > 0 ? 2 * low : 1;
  return { low, high };
}

// The median of the averages in a unit, to two digits.
export function suggested(unit, all) {
  const own = all.filter((one) => one.unit === unit && one.scaleKey.endsWith("averages"));
  return Number(quantile(sorted(own), 50).toPrecision(2));
}

const pools = new WeakMap();

function sorted(pictures) {
  if (!pictures.length) return new Float32Array(1);
  const kept = pools.get(pictures[0].levels);
  if (kept?.count === pictures.length && pictures.every(({ levels }, i) => kept.of[i] === levels)) return kept.pooled;
  const pooled = new Float32Array(pictures.reduce((sum, { levels }) => sum + levels.length, 0));
  let at = 0;
  for (const { levels } of pictures) {
    pooled.set(levels, at);
    at += levels.length;
  }
  pooled.sort();
  pools.set(pictures[0].levels, { count: pictures.length, of: pictures.map(({ levels }) => levels), pooled });
  return pooled;
}

function quantile(values, percent) {
  const place = (percent / 100) * (values.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, values.length - 1);
  return values[below] + (values[above] - values[below]) * (place - below);
}
