// Connected components of the voxels above a threshold, in a thread of its own. Neighbours share a face, edge or corner;
// positive and negative relevance never join.

const volumes = new Map();

function smallClusters({ shape, sign, cellMm3, minimum }) {
  const [nx, ny, nz] = shape;
  const removed = new Uint8Array(sign.length);
  const seen = new Uint8Array(sign.length);
  const stack = new Int32Array(sign.length);
  for (let start = 0; start < sign.length; start++) {
    if (sign[start] === 0 || seen[start]) continue;
    let [count, read, volume] = [1, 0, 0];
    stack[0] = start;
    seen[start] = 1;
    while (read < count) {
      const here = stack[read++];
      volume += typeof cellMm3 === "number" ? cellMm3 : cellMm3[here];
      const [x, y, z] = [Math.floor(here / (ny * nz)), Math.floor(here / nz) % ny, here % nz];
      for (let i = Math.max(x - 1, 0); i <= Math.min(x + 1, nx - 1); i++) {
        for (let j = Math.max(y - 1, 0); j <= Math.min(y + 1, ny - 1); j++) {
          for (let k = Math.max(z - 1, 0); k <= Math.min(z + 1, nz - 1); k++) {
            const next = (i * ny + j) * nz + k;
            if (!seen[next] && sign[next] === sign[here]) {
              seen[next] = 1;
              stack[count++] = next;
            }
          }
        }
      }
    }
    if (volume < minimum) for (let member = 0; member < count; member++) removed[stack[member]] = 1;
  }
  return removed;
}

// What is drawn of each voxel: 1, -1 or 0. `mode`: 0 signed, 1 absolute, 2 positive only.
function signs({ data, labels, outside }, threshold, mode) {
  const values = labels ?? data;
  const out = new Int8Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = labels ? data[labels[i]] : data[i];
    if (value === outside || Math.abs(value) <= threshold) continue;
    if (value > 0 || mode === 1) out[i] = 1;
    else if (mode === 0) out[i] = -1;
  }
  return out;
}

if (typeof WorkerGlobalScope !== "undefined" && self instanceof WorkerGlobalScope) {
  self.onmessage = ({ data: message }) => {
    if (message.volume) volumes.set(message.key, message.volume);
    if (message.forget) volumes.clear();
    if (message.job === undefined) return;
    const volume = volumes.get(message.key);
    const sign = signs(volume, message.threshold, message.mode);
    const removed = smallClusters({ shape: volume.shape, sign, cellMm3: volume.cellMm3, minimum: message.minimum });
    self.postMessage({ key: message.key, job: message.job, removed }, [removed.buffer]);
  };
}
