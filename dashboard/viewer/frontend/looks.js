// What decides the colours of each map, from the reader's choices. Thresholds are in percentiles of |h| among the brain
// voxels of a map, or in values; `scale` "shared" compares the maps as % of their relevance per cm3.

import { Pool } from "./pools.js";

const SHARED_UNIT = "% of relevance per cm³";

// Threshold and top as stored numbers of the map; `factor` turns them into `unit`.
export function lookOf(map, main, ready, view, colourTables) {
  const shared = view.scale === "shared" && !map.entry.scale_group;
  const pool = Pool.of(map, ready);
  const top = shared ? Math.max(...ready.map((one) => one.top * one.shared)) / (map.shared || 1) : pool.top / map.scale;
  const threshold = stored(map, Pool.of(main, ready), pool, shared, view);
  return {
    threshold,
    top: Math.max(top, threshold),
    factor: shared ? map.shared : map.scale,
    unit: shared ? SHARED_UNIT : map.entry.unit,
    colours: colourTables[view.colours],
    name: view.colours,
    sign: map.entry.one_sided ? "absolute" : view.sign,
    smooth: view.smooth,
  };
}

function stored(map, mainPool, pool, shared, { threshold, threshold_kind: kind }) {
  const main = mainPool.map;
  if (kind === "percentile" && !shared) return pool.percentile(threshold);
  // On one scale the main map's threshold holds for all.
  if (kind === "percentile") return (main.percentile(threshold) * main.shared) / (map.shared || 1);
  if (shared) return threshold / (map.shared || 1);
  // A value means the same only in the same unit; elsewhere the same part of the brain stays uncoloured.
  if (map.entry.unit === main.entry.unit) return threshold / map.scale;
  return map.percentile(main.rank(threshold / main.scale));
}

// The threshold that leaves `percent` of the brain uncoloured, in the terms of the view.
export function thresholdFor(percent, pool, view) {
  const main = pool.map;
  if (view.threshold_kind === "percentile") return Math.min(Math.round(10 * percent) / 10, 99.9);
  const factor = view.scale === "shared" && !main.entry.scale_group ? main.shared : main.scale;
  return Number((pool.percentile(percent) * factor).toPrecision(4));
}
