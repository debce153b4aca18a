// What decides the colours of each map, from the reader's choices. Thresholds are in percentiles of |h| among the brain
// voxels of a map, or in values; `scale` "shared" compares the maps as % of their relevance per cm3.

const SHARED_UNIT = "% of relevance per cm³";

// Threshold and top as stored numbers of the map; `factor` turns them into `unit`.
export function lookOf(map, main, ready, view, colourTables) {
  const shared = view.scale === "shared";
  const top = shared ? Math.max(...ready.map((one) => one.top * one.shared)) / (map.shared || 1) : map.top;
  const threshold = stored(map, main, shared, view);
  return {
    threshold,
    top: Math.max(top, threshold),
    factor: shared ? map.shared : map.scale,
    unit: shared ? SHARED_UNIT : map.entry.unit,
    colours: colourTables[view.colours],
    name: view.colours,
    sign: view.sign,
    smooth: view.smooth,
  };
}

function stored(map, main, shared, { threshold, threshold_kind: kind }) {
  if (kind === "percentile" && !shared) return map.percentile(threshold);
  // On one scale the main map's threshold holds for all.
  if (kind === "percentile") return (main.percentile(threshold) * main.shared) / (map.shared || 1);
  if (shared) return threshold / (map.shared || 1);
  // A value means the same only in the same unit; elsewhere the same part of the brain stays uncoloured.
  if (map.entry.unit === main.entry.unit) return threshold / map.scale;
  return map.percentile(main.rank(threshold / main.scale));
}

// The threshold that leaves `percent` of the brain uncoloured, in the terms of the view.
export function thresholdFor(percent, main, view) {
  if (view.threshold_kind === "percentile") return Math.min(Math.round(10 * percent) / 10, 99.9);
  const factor = view.scale === "shared" ? main.shared : main.scale;
  return Number((main.percentile(percent) * factor).toPrecision(4));
}
