// A read-only handle of a sheet for tests and measurements.

export function handle(board) {
  const found = (method, heading) =>
    [...board.rows.values()].find(({ row }) => row === method)?.pictures.find((one) => one.heading === heading);
  return Object.freeze({
    get state() {
      return structuredClone(board.view);
    },
    get ready() {
      return board.ready;
    },
    // Low, high and unit of the colours of a picture.
    range: (method, heading) => {
      const { low, high, unit } = found(method, heading).look;
      return { low, high, unit };
    },
    png: (method, heading) => found(method, heading).canvas.toDataURL("image/png"),
    get volumes() {
      return [board.underlay, ...board.sources.values()].filter(({ volume }) => volume).length;
    },
    measure: (kind, frames) => measure(board, kind, frames),
  });
}

// Frames a second and ms of drawing, while a threshold or the slices are dragged through their range.
async function measure(board, kind, frames) {
  const [times, gaps] = [[], []];
  const started = performance.now();
  let last = await nextFrame();
  for (let i = 0; i < frames; i++) {
    const turn = 0.5 + 0.45 * Math.sin((i / frames) * 2 * Math.PI);
    if (kind === "crosshair") {
      const [low, high] = board.head.data.extents.axial;
      board.move({ plane: "axial", n: "3", z: Math.round(low + turn * (high - low)) });
    } else board.set({ rule: "percentile", from: Math.round(99 * turn) });
    const now = await nextFrame();
    times.push(board.drawMs);
    gaps.push(now - last);
    last = now;
  }
  const quantile = (list, q) => [...list].sort((a, b) => a - b)[Math.floor(q * (list.length - 1))];
  return {
    framesPerSecond: (1000 * frames) / (performance.now() - started),
    drawLeast: quantile(times, 0), drawMedian: quantile(times, 0.5), draw95: quantile(times, 0.95),
    gapMedian: quantile(gaps, 0.5), gap95: quantile(gaps, 0.95),
  };
}

function nextFrame() {
  return new Promise((resolve) => requestAnimationFrame(resolve));
}
