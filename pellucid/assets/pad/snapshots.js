"use strict";
// How weights and pictures travel in a page, and how they are unpacked.
const PellucidSnapshots = (() => {
  const { size } = PellucidOperations;

  /** @param {string} text  base64 */
  function bytesOf(text) {
    const binary = atob(text),
      bytes = new Uint8Array(binary.length);
    for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at);
    return bytes;
  }

  /** 16-bit floats (IEEE 754 half) as 32-bit ones. @param {Uint8Array} bytes */
  function halves(bytes) {
    const words = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
    return Float32Array.from(words, (word) => {
      const sign = word & 0x8000 ? -1 : 1,
        exponent = (word >> 10) & 31,
        fraction = word & 1023;
      if (exponent === 0) return sign * fraction * 2 ** -24;
      if (exponent === 31) return fraction ? NaN : sign * Infinity;
      return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
    });
  }

  /** The weights of a page, one array a tensor. @param {WeightsData} packed @param {number[][]} shapes */
  function unpack(packed, shapes) {
    const bytes = bytesOf(packed.data);
    if (packed.precision === "i8") {
      const { scales, changes } = countsOf(shapes),
        steps = new Float32Array(bytes.buffer, 0, scales);
      const levels = new Int8Array(bytes.buffer, scales * 4, changes);
      return weightsOf({ levels, vectors: halves(bytes.slice(scales * 4 + changes)) }, steps, shapes);
    }
    const numbers = packed.precision === "f32" ? new Float32Array(bytes.buffer) : halves(bytes);
    let start = 0;
    return shapes.map((shape) => numbers.subarray(start, (start += size(shape))));
  }

  /** @param {string} text  base64 of what zlib compressed */
  async function inflate(text) {
    const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  /**
   * A function that gives the weights at snapshot n. Each matrix is kept as whole steps of one size a channel,
   * snapshot after snapshot as the change since the one before; vectors are halves.
   * @param {{count: number, data: string}} packed @param {number[][]} shapes
   * @returns {Promise<(snapshot: number) => Float32Array[]>}
   */
  async function unpackSnapshots(packed, shapes) {
    const bytes = await inflate(packed.data);
    const { scales, changes, rest } = countsOf(shapes);
    const steps = new Float32Array(bytes.slice(0, scales * 4).buffer);
    /** @type {Kept[]} */
    const snapshots = [];
    const each = changes + rest * 2,
      levels = new Int8Array(changes);
    for (let snapshot = 0, at = scales * 4; snapshot < packed.count; snapshot++, at += each) {
      for (let weight = 0; weight < changes; weight++) levels[weight] += bytes[at + weight];
      snapshots.push({ levels: levels.slice(), vectors: halves(bytes.slice(at + changes, at + each)) });
    }
    return (snapshot) => weightsOf(snapshots[snapshot], steps, shapes);
  }
  /** @typedef {{levels: Int8Array, vectors: Float32Array}} Kept */

  /** How many rows of matrices there are, how many weights in them, and how many others. @param {number[][]} shapes */
  function countsOf(shapes) {
    const matrices = shapes.filter((shape) => shape.length > 1),
      vectors = shapes.filter((shape) => shape.length <= 1);
    return {
      scales: matrices.reduce((sum, shape) => sum + shape[0], 0),
      changes: matrices.reduce((sum, shape) => sum + size(shape), 0),
      rest: vectors.reduce((sum, shape) => sum + size(shape), 0),
    };
  }

  /** @param {Kept} kept @param {Float32Array} steps @param {number[][]} shapes */
  function weightsOf({ levels, vectors }, steps, shapes) {
    let level = 0,
      step = 0,
      vector = 0;
    return shapes.map((shape) => {
      const count = size(shape);
      if (shape.length <= 1) return vectors.subarray(vector, (vector += count));
      const weights = new Float32Array(count),
        each = count / shape[0];
      for (let at = 0; at < count; at++) weights[at] = levels[level + at] * steps[step + Math.floor(at / each)];
      level += count;
      step += shape[0];
      return weights;
    });
  }

  return { bytesOf, halves, inflate, unpack, unpackSnapshots };
})();
