"use strict";
// The operations that slide a window over maps: convolution and pooling.
const PellucidWindows = (() => {
  /** @param {number[]} shape */
  const sizeOf = (shape) => shape.reduce((product, side) => product * side, 1);

  /**
   * The sides of a convolution, once for all its passes.
   * @param {OperationData} operation
   * @param {Net} net
   */
  function geometryOf(operation, net) {
    const [channels, height, width] = net.shapes[operation.inputs[0]];
    const [filters, rows, columns] = operation.shape;
    const [kh, kw] = operation.kernel,
      [sh, sw] = operation.stride,
      [ph, pw] = operation.padding,
      [dh, dw] = operation.dilation;
    const single = sh === 1 && sw === 1 && dh === 1 && dw === 1;
    return {
      channels, height, width, filters, rows, columns, kh, kw, sh, sw, ph, pw, dh, dw,
      share: channels / operation.groups, // input channels that a filter reads
      filtersEach: filters / operation.groups,
      // the zeros below and to the right are as many as the outcome needs
      wide: Math.max(pw + width, (columns - 1) * sw + (kw - 1) * dw + 1),
      high: Math.max(ph + height, (rows - 1) * sh + (kh - 1) * dh + 1),
      plain: kh === 3 && kw === 3 && single,
      lines: (kw === 3 || kw === 5) && dw === 1,
      pointwise: kh === 1 && kw === 1 && single && !ph && !pw && operation.groups === 1,
    };
  }
  /** @typedef {ReturnType<typeof geometryOf>} Geometry */

  /** @param {Float32Array} input @param {Float32Array} padded @param {Geometry} geometry */
  function pad(input, padded, { channels, height, width, ph, pw, high, wide }) {
    if (high === height && wide === width) return input;
    for (let line = 0; line < channels * height; line++) {
      const channel = Math.floor(line / height),
        row = line % height;
      padded.set(input.subarray(line * width, (line + 1) * width), (channel * high + row + ph) * wide + pw);
    }
    return padded;
  }

  /** @type {Kind} */
  function conv2d(operation, index, net) {
    const from = operation.inputs[0],
      geometry = geometryOf(operation, net);
    const { channels, high, wide, filters, rows, columns, kh, kw, share, filtersEach, plain } = geometry;
    if (geometry.pointwise) return pointwise(operation, index, net);
    const padded = new Float32Array(channels * high * wide),
      plane = rows * columns;
    const [weightIndex, biasIndex] = operation.tensors;
    return {
      forward() {
        const weight = net.weights[weightIndex],
          bias = biasIndex === undefined ? null : net.weights[biasIndex];
        const input = pad(net.values[from], padded, geometry),
          output = net.values[index];
        for (let filter = 0; filter < filters; filter++) {
          const start = filter * plane,
            first = Math.floor(filter / filtersEach) * share;
          output.fill(bias ? bias[filter] : 0, start, start + plane);
          for (let channel = 0; channel < share; channel++) {
            const w = (filter * share + channel) * kh * kw,
              base = (first + channel) * high * wide;
            if (plain) addNine(weight, w, input, base, output, start, rows, columns);
            else if (geometry.lines) addLines(weight, w, input, base, output, start, geometry);
            else addTaps(weight, w, input, base, output, start, geometry);
          }
        }
      },
      backward(to) {
        if (from < to) return;
        const back = new Float32Array(channels * high * wide);
        spreadBack(net.weights[weightIndex], net.gradients[index], back, geometry);
        unpad(back, net.gradients[from], geometry);
      },
    };
  }

  /** A 1 x 1 convolution: a product of matrices, and most of the work of a network of blocks. @type {Kind} */
  function pointwise(operation, index, net) {
    const from = operation.inputs[0],
      [channels, height, width] = net.shapes[from],
      filters = operation.shape[0],
      plane = height * width;
    const [weightIndex, biasIndex] = operation.tensors;
    return {
      forward() {
        const bias = biasIndex === undefined ? null : net.weights[biasIndex],
          output = net.values[index];
        for (let filter = 0; filter < filters; filter++) {
          output.fill(bias ? bias[filter] : 0, filter * plane, (filter + 1) * plane);
        }
        addProduct(net.weights[weightIndex], net.values[from], output, { filters, channels, plane });
      },
      backward(to) {
        if (from < to) return;
        const weight = net.weights[weightIndex],
          turned = new Float32Array(weight.length);
        for (let at = 0; at < weight.length; at++) {
          turned[(at % channels) * filters + Math.floor(at / channels)] = weight[at];
        }
        addProduct(turned, net.gradients[index], net.gradients[from], { filters: channels, channels: filters, plane });
      },
    };
  }

  /**
   * Adds weight (filters, channels) x input (channels, plane) to output, four filters and four channels at a time:
   * each number is then read once for sixteen products.
   * @param {Float32Array} weight @param {Float32Array} input @param {Float32Array} output
   * @param {{filters: number, channels: number, plane: number}} sides
   */
  function addProduct(weight, input, output, { filters, channels, plane }) {
    for (let filter = 0; filter < filters; filter += 4) {
      for (let channel = 0; channel < channels; channel += 4) {
        const from = channel * plane,
          to = filter * plane,
          w = filter * channels + channel;
        if (filter + 4 <= filters && channel + 4 <= channels) {
          addSixteen(weight, w, channels, input, from, output, to, plane);
        } else {
          for (let row = 0; row < Math.min(4, filters - filter); row++) {
            for (let column = 0; column < Math.min(4, channels - channel); column++) {
              const factor = weight[w + row * channels + column];
              const start = to + row * plane,
                shift = from + column * plane;
              for (let cell = 0; cell < plane; cell++) output[start + cell] += factor * input[shift + cell];
            }
          }
        }
      }
    }
  }

  /**
   * @param {Float32Array} weight @param {number} w @param {number} channels @param {Float32Array} input
   * @param {number} from @param {Float32Array} output @param {number} to @param {number} plane
   */
  function addSixteen(weight, w, channels, input, from, output, to, plane) {
    const x = w + channels,
      y = x + channels,
      z = y + channels;
    const a0 = weight[w],
      a1 = weight[w + 1],
      a2 = weight[w + 2],
      a3 = weight[w + 3],
      b0 = weight[x],
      b1 = weight[x + 1],
      b2 = weight[x + 2],
      b3 = weight[x + 3],
      c0 = weight[y],
      c1 = weight[y + 1],
      c2 = weight[y + 2],
      c3 = weight[y + 3],
      d0 = weight[z],
      d1 = weight[z + 1],
      d2 = weight[z + 2],
      d3 = weight[z + 3];
    for (let end = to + plane; to < end; to++, from++) {
      const p = input[from],
        q = input[from + plane],
        r = input[from + 2 * plane],
        s = input[from + 3 * plane];
      output[to] += a0 * p + a1 * q + a2 * r + a3 * s;
      output[to + plane] += b0 * p + b1 * q + b2 * r + b3 * s;
      output[to + 2 * plane] += c0 * p + c1 * q + c2 * r + c3 * s;
      output[to + 3 * plane] += d0 * p + d1 * q + d2 * r + d3 * s;
    }
  }

  /**
   * The nine taps of a 3 x 3 kernel at once, for one filter and channel.
   * @param {Float32Array} weight @param {number} w @param {Float32Array} input @param {number} base
   * @param {Float32Array} output @param {number} start @param {number} rows @param {number} columns
   */
  function addNine(weight, w, input, base, output, start, rows, columns) {
    const wide = columns + 2;
    const a = weight[w],
      b = weight[w + 1],
      c = weight[w + 2],
      d = weight[w + 3],
      e = weight[w + 4],
      f = weight[w + 5],
      g = weight[w + 6],
      h = weight[w + 7],
      i = weight[w + 8];
    for (let row = 0; row < rows; row++) {
      let top = base + row * wide,
        middle = top + wide,
        bottom = middle + wide;
      let to = start + row * columns;
      for (let column = 0; column < columns; column++, top++, middle++, bottom++, to++) {
        output[to] +=
          a * input[top] +
          b * input[top + 1] +
          c * input[top + 2] +
          d * input[middle] +
          e * input[middle + 1] +
          f * input[middle + 2] +
          g * input[bottom] +
          h * input[bottom + 1] +
          i * input[bottom + 2];
      }
    }
  }

  /**
   * The three or five taps of a kernel's line at once, line by line.
   * @param {Float32Array} weight @param {number} w @param {Float32Array} input @param {number} base
   * @param {Float32Array} output @param {number} start @param {Geometry} geometry
   */
  function addLines(weight, w, input, base, output, start, { kh, kw, sh, sw, dh, rows, columns, wide }) {
    for (let line = 0; line < kh; line++, w += kw) {
      const a = weight[w],
        b = weight[w + 1],
        c = weight[w + 2],
        d = kw === 5 ? weight[w + 3] : 0,
        e = kw === 5 ? weight[w + 4] : 0;
      for (let row = 0; row < rows; row++) {
        let from = base + (row * sh + line * dh) * wide,
          to = start + row * columns;
        const end = to + columns;
        if (kw === 3) {
          for (; to < end; to++, from += sw) output[to] += a * input[from] + b * input[from + 1] + c * input[from + 2];
        } else {
          for (; to < end; to++, from += sw) {
            output[to] +=
              a * input[from] + b * input[from + 1] + c * input[from + 2] + d * input[from + 3] + e * input[from + 4];
          }
        }
      }
    }
  }

  /**
   * @param {Float32Array} weight @param {number} w @param {Float32Array} input @param {number} base
   * @param {Float32Array} output @param {number} start @param {Geometry} geometry
   */
  function addTaps(weight, w, input, base, output, start, { kh, kw, sh, sw, dh, dw, rows, columns, wide }) {
    for (let tap = 0; tap < kh * kw; tap++) {
      const factor = weight[w + tap];
      const shift = base + Math.floor(tap / kw) * dh * wide + (tap % kw) * dw;
      for (let row = 0; row < rows; row++) {
        const line = shift + row * sh * wide,
          to = start + row * columns;
        for (let column = 0; column < columns; column++) output[to + column] += factor * input[line + column * sw];
      }
    }
  }

  /** @param {Float32Array} weight @param {Float32Array} gradient @param {Float32Array} back @param {Geometry} geometry */
  function spreadBack(weight, gradient, back, geometry) {
    const { filters, filtersEach, share, kh, kw, sh, sw, dh, dw, rows, columns, high, wide } = geometry;
    for (let filter = 0; filter < filters; filter++) {
      const first = Math.floor(filter / filtersEach) * share;
      for (let channel = 0; channel < share; channel++) {
        for (let tap = 0; tap < kh * kw; tap++) {
          const factor = weight[(filter * share + channel) * kh * kw + tap];
          const shift = (first + channel) * high * wide + Math.floor(tap / kw) * dh * wide + (tap % kw) * dw;
          for (let row = 0; row < rows; row++) {
            const line = shift + row * sh * wide,
              at = (filter * rows + row) * columns;
            for (let column = 0; column < columns; column++) back[line + column * sw] += factor * gradient[at + column];
          }
        }
      }
    }
  }

  /** @param {Float32Array} back @param {Float32Array} result @param {Geometry} geometry */
  function unpad(back, result, { height, width, high, wide, ph, pw }) {
    for (let at = 0; at < result.length; at++) {
      const channel = Math.floor(at / (height * width)),
        cell = at % (height * width);
      result[at] += back[(channel * high + Math.floor(cell / width) + ph) * wide + (cell % width) + pw];
    }
  }

  // --- pooling

  /**
   * The cells of window `at` along one side, inside the picture: [first, after the last, its whole length].
   * @param {number} at @param {number} kernel @param {number} stride @param {number} padding @param {number} side
   * @returns {[number, number, number]}
   */
  function windowed(at, kernel, stride, padding, side) {
    const first = at * stride - padding,
      end = Math.min(first + kernel, side + padding);
    return [Math.max(first, 0), Math.min(end, side), end - first];
  }

  /** @param {number} at @param {number} side @param {number} cells @returns {[number, number, number]} */
  function adaptive(at, side, cells) {
    const first = Math.floor((at * side) / cells),
      end = Math.ceil(((at + 1) * side) / cells);
    return [first, end, end - first];
  }

  /**
   * Of every row and column of a pooling: the cells of its window.
   * @param {OperationData} operation
   * @param {number[]} shape
   */
  function windowsOf(operation, shape) {
    const [, height, width] = shape;
    const [, rows = 1, columns = 1] = operation.shape;
    /** @type {(at: number, side: number, axis: number) => [number, number, number]} */
    const own = operation.kernel
      ? (at, side, axis) =>
          windowed(at, operation.kernel[axis], operation.stride[axis], operation.padding[axis], side)
      : (at, side, axis) => adaptive(at, side, axis ? columns : rows);
    return {
      height,
      width,
      rows,
      columns,
      down: Array.from({ length: rows }, (_, at) => own(at, height, 0)),
      across: Array.from({ length: columns }, (_, at) => own(at, width, 1)),
    };
  }
  /** @typedef {ReturnType<typeof windowsOf>} Windows */

  /**
   * A dilated window's cells lie apart: its ends are those of the spread kernel.
   * @param {[number, number, number][]} spans @param {OperationData} operation @param {number} axis @param {number} side
   */
  function dilate(spans, operation, axis, side) {
    const reach = (operation.kernel[axis] - 1) * operation.dilation[axis] + 1;
    spans.forEach((span, at) => {
      span[0] = at * operation.stride[axis] - operation.padding[axis];
      span[1] = Math.min(span[0] + reach, side);
    });
  }

  /** @type {Kind} */
  function maxPool(operation, index, net) {
    const from = operation.inputs[0],
      chosen = new Int32Array(sizeOf(operation.shape));
    const windows = windowsOf(operation, net.shapes[from]);
    const { height, width, down, across } = windows;
    const [dh, dw] = operation.dilation || [1, 1];
    if (dh !== 1 || dw !== 1) {
      dilate(down, operation, 0, height);
      dilate(across, operation, 1, width);
    }
    return {
      forward() {
        takeLargest(net.values[from], net.values[index], chosen, { windows, channels: operation.shape[0], dh, dw });
      },
      backward(to) {
        if (from < to) return;
        const gradient = net.gradients[index],
          result = net.gradients[from];
        for (let at = 0; at < gradient.length; at++) if (chosen[at] >= 0) result[chosen[at]] += gradient[at];
      },
    };
  }

  /**
   * @param {Float32Array} input @param {Float32Array} output @param {Int32Array} chosen
   * @param {{windows: Windows, channels: number, dh: number, dw: number}} pooling
   */
  function takeLargest(input, output, chosen, { windows, channels, dh, dw }) {
    const { height, width, rows, columns, down, across } = windows;
    let to = 0;
    for (let channel = 0; channel < channels; channel++) {
      const base = channel * height * width;
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++, to++) {
          let most = -Infinity,
            cell = -1;
          for (let y = down[row][0]; y < down[row][1]; y += dh) {
            if (y < 0) continue;
            for (let x = across[column][0]; x < across[column][1]; x += dw) {
              if (x < 0) continue;
              const value = input[base + y * width + x];
              if (value > most) {
                most = value;
                cell = base + y * width + x;
              }
            }
          }
          output[to] = most;
          chosen[to] = cell;
        }
      }
    }
  }

  /** @type {Kind} */
  function averagePool(operation, index, net) {
    const from = operation.inputs[0];
    const { height, width, rows, columns, down, across } = windowsOf(operation, net.shapes[from]);
    /** @type {(y: [number, number, number], x: [number, number, number]) => number} */
    const divisor = (y, x) =>
      operation.divisor || (operation.count_padding === false ? (y[1] - y[0]) * (x[1] - x[0]) : y[2] * x[2]);
    /** @param {(to: number, base: number, y: [number, number, number], x: [number, number, number]) => void} visit */
    function each(visit) {
      for (let channel = 0, to = 0; channel < operation.shape[0]; channel++) {
        for (let row = 0; row < rows; row++) {
          for (let column = 0; column < columns; column++, to++) {
            visit(to, channel * height * width, down[row], across[column]);
          }
        }
      }
    }
    return {
      forward() {
        const input = net.values[from],
          output = net.values[index];
        each((to, base, y, x) => {
          let sum = 0;
          for (let row = y[0]; row < y[1]; row++) {
            for (let column = x[0]; column < x[1]; column++) sum += input[base + row * width + column];
          }
          output[to] = sum / divisor(y, x);
        });
      },
      backward(to) {
        if (from < to) return;
        const gradient = net.gradients[index],
          result = net.gradients[from];
        each((at, base, y, x) => {
          const part = gradient[at] / divisor(y, x);
          for (let row = y[0]; row < y[1]; row++) {
            for (let column = x[0]; column < x[1]; column++) result[base + row * width + column] += part;
          }
        });
      },
    };
  }

  return { adaptive, addProduct, averagePool, conv2d, maxPool, windowsOf };
})();
