// Fetches volumes once, with progress, and keeps the last ones for as long as the page lives.

export const OUTSIDE = -32768; // in a heatmap: not brain
const TYPES = { uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array };
const KEPT_BYTES = 192 * 2 ** 20;
const kept = new Map(); // by address without its signature, which changes every minute

export class LoadingError extends Error {
  constructor(message, expired = false) {
    super(message);
    this.expired = expired;
  }
}

export function stablePart(url) {
  return url.split("?")[0];
}

// -> { data, scale }; `progress` gets the fraction that has arrived.
export async function loadVolume(volume, progress, signal) {
  const key = stablePart(volume.url);
  if (!kept.has(key)) keep(key, await fetchVolume(volume, progress, signal));
  const found = kept.get(key);
  kept.delete(key);
  kept.set(key, found);
  progress(1);
  return found;
}

function keep(key, loaded) {
  kept.set(key, loaded);
  let bytes = [...kept.values()].reduce((sum, { data }) => sum + data.byteLength, 0);
  for (const [old, { data }] of kept) {
    if (bytes <= KEPT_BYTES || old === key) break;
    kept.delete(old);
    bytes -= data.byteLength;
  }
}

export async function fetchVolume({ url, shape, dtype, scale }, progress, signal) {
  let response;
  try {
    response = await fetch(new URL(url, location.href), { signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new LoadingError("The server does not answer.");
  }
  if (!response.ok) throw new LoadingError(await response.text(), response.status === 403);
  const Numbers = TYPES[dtype];
  const bytes = new Uint8Array(shape[0] * shape[1] * shape[2] * Numbers.BYTES_PER_ELEMENT);
  let filled = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (filled + value.length > bytes.length) throw new LoadingError("A volume is larger than announced.");
    bytes.set(value, filled);
    filled += value.length;
    progress(filled / bytes.length);
  }
  if (filled !== bytes.length) throw new LoadingError("A volume arrived incomplete.");
  return { data: new Numbers(bytes.buffer), scale: scale ?? Number(response.headers.get("X-Scale")) };
}
