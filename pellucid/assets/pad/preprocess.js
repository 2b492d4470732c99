"use strict";
// A picture file's pixels as data/preprocess.py makes them fit, byte for byte.
const PellucidPreprocess = (() => {
  const BITS = 22; // of a weight, as in Pillow

  /**
   * Gray (ITU-R 601, as Pillow rounds it) or red, green, blue, bytes each.
   * @param {ArrayLike<number>} rgba @param {number} height @param {number} width @param {number} channels
   */
  function planes(rgba, height, width, channels) {
    const count = height * width;
    /** @param {(at: number) => number} value */
    const plane = (value) => Uint8Array.from({ length: count }, (_, cell) => value(cell * 4));
    if (channels === 3) return [0, 1, 2].map((band) => plane((at) => rgba[at + band]));
    return [plane((at) => (rgba[at] * 19595 + rgba[at + 1] * 38470 + rgba[at + 2] * 7471 + 32768) >> 16)];
  }

  /**
   * A plane of bytes as `Preprocess` makes it fit: averaged when both sides shrink, else bicubic; with Pillow's
   * rounding (22 bits a weight, a byte after each direction).
   * @param {Uint8Array} plane @param {number} height @param {number} width @param {number} rows @param {number} columns
   */
  function resized(plane, height, width, rows, columns) {
    const averages = height >= rows && width >= columns;
    /** @type {[(x: number) => number, number]} */
    const [filter, support] = averages ? [(x) => (x > -0.5 && x <= 0.5 ? 1 : 0), 0.5] : [cubic, 2];
    const across = weightsFor(width, columns, filter, support),
      down = weightsFor(height, rows, filter, support);
    const middle = width === columns ? plane : new Uint8Array(height * columns);
    if (width !== columns) {
      for (let row = 0; row < height; row++) {
        across.forEach(({ first, weights }, column) => {
          middle[row * columns + column] = weighted(weights, (at) => plane[row * width + first + at]);
        });
      }
    }
    if (height === rows) return middle;
    const result = new Uint8Array(rows * columns);
    down.forEach(({ first, weights }, row) => {
      for (let column = 0; column < columns; column++) {
        result[row * columns + column] = weighted(weights, (at) => middle[(first + at) * columns + column]);
      }
    });
    return result;
  }

  /**
   * A plane of bytes (H, W) in the size asked for, as `_fitted` in decode/images.py: all of it stretched, all of it
   * on the background, or its middle.
   * @param {Uint8Array} plane @param {number[]} from @param {number[]} to
   * @param {{fit: PadData["fit"], background: number}} how
   */
  function fitted(plane, [height, width], [rows, columns], { fit, background }) {
    const isWide = width * rows > height * columns;
    if (fit === "crop") {
      const keptWidth = isWide ? Math.max(1, rounded(height * columns, rows)) : width;
      const keptHeight = isWide ? height : Math.max(1, rounded(width * rows, columns));
      const left = (width - keptWidth) >> 1,
        top = (height - keptHeight) >> 1;
      const middle = new Uint8Array(keptHeight * keptWidth);
      for (let row = 0; row < keptHeight; row++) {
        const start = (top + row) * width + left;
        middle.set(plane.subarray(start, start + keptWidth), row * keptWidth);
      }
      return resized(middle, keptHeight, keptWidth, rows, columns);
    }
    if (fit !== "pad") return resized(plane, height, width, rows, columns);
    const innerRows = isWide ? Math.max(1, rounded(height * columns, width)) : rows;
    const innerColumns = isWide ? columns : Math.max(1, rounded(width * rows, height));
    const inner = resized(plane, height, width, innerRows, innerColumns);
    const padded = new Uint8Array(rows * columns).fill(background);
    const left = (columns - innerColumns) >> 1,
      top = (rows - innerRows) >> 1;
    for (let row = 0; row < innerRows; row++) {
      padded.set(inner.subarray(row * innerColumns, (row + 1) * innerColumns), (top + row) * columns + left);
    }
    return padded;
  }

  /** The quotient as the nearest whole number, a half upwards. @param {number} numerator @param {number} denominator */
  function rounded(numerator, denominator) {
    return Math.floor((2 * numerator + denominator) / (2 * denominator));
  }

  /** @param {number[]} weights @param {(at: number) => number} value */
  function weighted(weights, value) {
    const sum = weights.reduce((total, weight, at) => total + weight * value(at), 2 ** (BITS - 1));
    return Math.min(255, Math.max(0, Math.floor(sum / 2 ** BITS)));
  }

  /** @param {number} x */
  function cubic(x) {
    const a = -0.5,
      far = Math.abs(x);
    if (far < 1) return ((a + 2) * far - (a + 3)) * far * far + 1;
    return far < 2 ? (((far - 5) * far + 8) * far - 4) * a : 0;
  }

  /** @param {number} source @param {number} size @param {(x: number) => number} filter @param {number} support */
  function weightsFor(source, size, filter, support) {
    const scale = source / size,
      spread = Math.max(scale, 1),
      reach = support * spread;
    return Array.from({ length: size }, (_, at) => {
      const middle = (at + 0.5) * scale;
      const first = Math.max(0, Math.trunc(middle - reach + 0.5));
      const end = Math.min(source, Math.trunc(middle + reach + 0.5));
      const exact = Array.from({ length: end - first }, (__, pixel) => filter((pixel + first - middle + 0.5) / spread));
      const sum = exact.reduce((total, weight) => total + weight, 0);
      const weights = exact.map((weight) => {
        const whole = (weight / sum) * 2 ** BITS;
        return Math.trunc(whole < 0 ? whole - 0.5 : whole + 0.5);
      });
      return { first, weights };
    });
  }

  return { fitted, planes, resized };
})();
