// Reads a NIfTI-1 file in the browser: .nii and .nii.gz, one volume, axes along those of the world.
// Source of the format: nifti1.h of the NIfTI-1 data format, nifti.nimh.nih.gov.

import { Grid } from "./geometry.js";

const LARGEST_FILE = 200 * 2 ** 20; // bytes, as it is dropped
const LARGEST_VOLUME = 512 * 2 ** 20; // bytes, unpacked
const MOST_VOXELS = 2 ** 25;
const HEADER = 348;
const TILT = 0.01; // of an axis that counts as along one of the world: a part of its length

const READERS = {
  2: ["getUint8", 1], 4: ["getInt16", 2], 8: ["getInt32", 4], 16: ["getFloat32", 4], 64: ["getFloat64", 8],
  256: ["getInt8", 1], 512: ["getUint16", 2], 768: ["getUint32", 4],
};

// What is wrong with a file, in words for its reader.
export class NiftiError extends Error {}

// -> { data: Float32Array in C order, RAS+; grid }
export async function readNifti(file) {
  if (file.size > LARGEST_FILE) throw new NiftiError(`it is larger than ${LARGEST_FILE / 2 ** 20} MB`);
  const start = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  const packed = start[0] === 0x1f && start[1] === 0x8b;
  const bytes = packed ? await unpack(file) : await file.arrayBuffer();
  const header = readHeader(bytes);
  return arrange(bytes, header);
}

async function unpack(file) {
  const stream = file.stream().pipeThrough(new DecompressionStream("gzip")).getReader();
  const [parts, sum] = [[], { bytes: 0 }];
  try {
    for (;;) {
      const { done, value } = await stream.read();
      if (done) break;
      sum.bytes += value.length;
      if (sum.bytes > LARGEST_VOLUME) throw new NiftiError(`it unpacks to more than ${LARGEST_VOLUME / 2 ** 20} MB`);
      parts.push(value);
    }
  } catch (error) {
    stream.cancel().catch(() => {});
    throw error instanceof NiftiError ? error : new NiftiError("it is damaged: it cannot be unpacked");
  }
  return new Blob(parts).arrayBuffer();
}

function readHeader(bytes) {
  if (bytes.byteLength < HEADER) throw new NiftiError("it is no NIfTI file");
  const view = new DataView(bytes);
  const little = view.getInt32(0, true) === HEADER;
  if (!little && view.getInt32(0, false) !== HEADER) {
    const second = [true, false].some((order) => view.getInt32(0, order) === 540);
    throw new NiftiError(second ? "it is NIfTI-2: save it as NIfTI-1" : "it is no NIfTI file");
  }
  const magic = String.fromCharCode(...new Uint8Array(bytes, 344, 3));
  if (magic !== "n+1") throw new NiftiError("its header and image are two files: save it as one .nii or .nii.gz");
  const int = (offset) => view.getInt16(offset, little);
  const number = (offset) => view.getFloat32(offset, little);
  const sizes = Array.from({ length: 7 }, (_, i) => (i < int(40) ? int(42 + 2 * i) : 1));
  const shape = sizes.slice(0, 3);
  if (shape.some((size) => size < 1)) throw new NiftiError("it holds no volume");
  if (sizes.slice(3).some((size) => size > 1)) throw new NiftiError("it holds several volumes: save one of them alone");
  if (shape[0] * shape[1] * shape[2] > MOST_VOXELS) throw new NiftiError(`it has more than ${MOST_VOXELS} voxels`);
  const kind = READERS[int(70)];
  if (!kind) throw new NiftiError(`its numbers are of type ${int(70)}, which is not read here: save them as float32`);
  return {
    shape, kind, little, offset: Math.max(number(108), 352), slope: number(112), intercept: number(116),
    columns: columnsOf(int, number),
  };
}

// The affine, voxel -> mm, as three rows of four: of the sform, else of the qform.
function columnsOf(int, number) {
  if (int(254) > 0) return [280, 296, 312].map((row) => [0, 4, 8, 12].map((step) => number(row + step)));
  if (int(252) <= 0) throw new NiftiError("it does not say where it lies (neither sform nor qform)");
  const [b, c, d] = [256, 260, 264].map(number);
  const a = Math.sqrt(Math.max(1 - b * b - c * c - d * d, 0));
  const side = number(76) < 0 ? -1 : 1;
  const [x, y, z] = [number(80), number(84), side * number(88)];
  const turn = [
    [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
    [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
    [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
  ];
  return turn.map((row, i) => [row[0] * x, row[1] * y, row[2] * z, number(268 + 4 * i)]);
}

// For each axis of the world: the axis of the file along it, and its step in mm.
function axesOf(rows) {
  const found = [0, 1, 2].map((own) => {
    const column = rows.map((row) => row[own]);
    const size = Math.hypot(...column);
    const world = column.reduce((best, value, i) => (Math.abs(value) > Math.abs(column[best]) ? i : best), 0);
    const straight = column.every((value, i) => i === world || Math.abs(value) <= TILT * size);
    if (!(size > 0) || !straight || !Number.isFinite(size)) {
      throw new NiftiError("its axes are turned against those of the world: resample it to the MNI template first");
    }
    return { own, world, step: column[world] };
  });
  if (new Set(found.map(({ world }) => world)).size < 3) throw new NiftiError("two of its axes run in the same direction");
  return [0, 1, 2].map((world) => found.find((one) => one.world === world));
}

function arrange(bytes, { shape, kind, little, offset, slope, intercept, columns: rows }) {
  const [method, size] = kind;
  const count = shape[0] * shape[1] * shape[2];
  if (bytes.byteLength < offset + count * size) throw new NiftiError("it is incomplete");
  const axes = axesOf(rows);
  const view = new DataView(bytes, offset);
  const own = [1, shape[0], shape[0] * shape[1]]; // in the file the first axis runs fastest
  const sizes = axes.map(({ own: axis }) => shape[axis]);
  const strides = axes.map(({ own: axis, step }) => (step < 0 ? -own[axis] : own[axis]));
  const first = axes.reduce((sum, { own: axis, step }) => sum + (step < 0 ? (shape[axis] - 1) * own[axis] : 0), 0);
  const factor = slope === 0 || !Number.isFinite(slope) ? 1 : slope;
  const start = slope === 0 || !Number.isFinite(intercept) ? 0 : intercept;
  const data = new Float32Array(count);
  let place = 0;
  for (let i = 0; i < sizes[0]; i++) {
    for (let j = 0; j < sizes[1]; j++) {
      let at = first + i * strides[0] + j * strides[1];
      for (let k = 0; k < sizes[2]; k++, at += strides[2]) {
        const value = view[method](at * size, little) * factor + start;
        data[place++] = Number.isFinite(value) ? value : 0;
      }
    }
  }
  const origin = axes.map(({ own: axis, step, world }) => rows[world][3] + (step < 0 ? step * (shape[axis] - 1) : 0));
  return { data, grid: new Grid(sizes, origin, axes.map(({ step }) => Math.abs(step))) };
}
