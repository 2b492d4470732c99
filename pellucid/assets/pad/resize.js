"use strict";
// Maps brought to another size, as torch's bilinear interpolation does it: rows first by one matrix, then columns.
const PellucidResize = (() => {
  /**
   * What each of `cells` cells along a side takes: the first cell it reads of `side`, and its share of that and the
   * following ones. With antialiasing a smaller picture reads all cells that one of its own covers; with aligned
   * corners the first and last cells are those of the other size.
   * @param {number} side @param {number} cells @param {boolean} antialias @param {boolean} aligned
   * @returns {{first: number, shares: number[]}[]}
   */
  function readings(side, cells, antialias, aligned) {
    const scale = aligned ? (side - 1) / Math.max(1, cells - 1) : side / cells,
      reach = antialias ? Math.max(1, scale) : 1;
    return Array.from({ length: cells }, (_, cell) => {
      const centre = aligned ? cell * scale + 0.5 : (cell + 0.5) * scale,
        first = Math.max(0, Math.floor(centre - reach + 0.5)),
        last = Math.min(side, Math.floor(centre + reach + 0.5));
      const shares = Array.from({ length: Math.max(1, last - first) }, (__, at) =>
        Math.max(0, 1 - Math.abs(first + at + 0.5 - centre) / reach),
      );
      const sum = shares.reduce((total, share) => total + share, 0);
      return { first, shares: shares.map((share) => share / sum) };
    });
  }

  /** @type {Kind} */
  function resize(operation, index, net) {
    const from = operation.inputs[0],
      [channels, height, width] = net.shapes[from],
      [, rows, columns] = operation.shape;
    const down = readings(height, rows, operation.antialias, operation.align_corners),
      across = readings(width, columns, operation.antialias, operation.align_corners);
    const between = new Float32Array(channels * height * columns); // as wide as the outcome, as high as the input

    return {
      forward() {
        const input = net.values[from],
          output = net.values[index];
        between.fill(0);
        output.fill(0);
        for (let line = 0; line < channels * height; line++) {
          across.forEach(({ first, shares }, column) => {
            let sum = 0;
            for (let at = 0; at < shares.length; at++) sum += shares[at] * input[line * width + first + at];
            between[line * columns + column] = sum;
          });
        }
        eachRow((start, to, share) => {
          for (let column = 0; column < columns; column++) output[to + column] += share * between[start + column];
        });
      },
      backward(to) {
        if (from < to) return;
        const gradient = net.gradients[index],
          result = net.gradients[from];
        between.fill(0);
        eachRow((start, at, share) => {
          for (let column = 0; column < columns; column++) between[start + column] += share * gradient[at + column];
        });
        for (let line = 0; line < channels * height; line++) {
          across.forEach(({ first, shares }, column) => {
            const slope = between[line * columns + column];
            for (let at = 0; at < shares.length; at++) result[line * width + first + at] += shares[at] * slope;
          });
        }
      },
    };

    /** Every row of the outcome with each row between that it takes: where both begin, and the share.
     * @param {(start: number, to: number, share: number) => void} visit */
    function eachRow(visit) {
      for (let channel = 0; channel < channels; channel++) {
        down.forEach(({ first, shares }, row) => {
          shares.forEach((share, at) => {
            visit((channel * height + first + at) * columns, (channel * rows + row) * columns, share);
          });
        });
      }
    }
  }

  return { readings, resize };
})();
