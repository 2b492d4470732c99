"use strict";
// How the value of one cell came about: explanation/trace.py in the page.
const PellucidTrace = (() => {
  const { MOVED } = PellucidProgram;

  /** @param {Net} net @param {Cell} cell @returns {Trace} */
  function trace(net, { layer, channel, row, column }) {
    const operation = net.program.operations[layer.first - 1],
      from = operation.inputs[0];
    /** @type {Trace} */
    const found = {
      kind: operation.kind,
      received: operation.inputs.map((value) => [layerOf(net, value)]),
      row,
      column,
      value: valueAt(net, layer.value, channel, row, column),
      after: stepsAfter(net, layer, channel, row, column),
      inside: [],
    };
    const cell = row * layer.shape[2] + column + channel * layer.shape[1] * layer.shape[2];
    if (operation.kind === "matmul") return multiplied(found, net, operation, cell);
    if (operation.kind === "linear") {
      const units = operation.shape[operation.shape.length - 1],
        unit = operation.shape.length > 1 ? column : channel;
      const { weights, patch } = unitOf(net, operation, unit, operation.shape.length > 1 ? Math.floor(cell / units) : 0);
      const bias = operation.tensors.length > 1 ? net.weights[operation.tensors[1]][unit] : 0;
      return summed(found, { kernel: null, weights, patch, first: 0, bias });
    }
    if (operation.kind === "conv2d" && operation.shape.length === 3) {
      const { weights, patch, first } = productsOf(net, operation, channel, row, column);
      const bias = operation.tensors.length > 1 ? net.weights[operation.tensors[1]][channel] : 0;
      return summed(found, { kernel: operation.kernel, weights, patch, first, bias });
    }
    if (operation.kind.includes("pool") && operation.shape.length === 3 && net.shapes[from].length === 3) {
      const parts = windowOf(net.values[from], operation, net.shapes[from], { layer, channel, row, column });
      return { ...found, pooled: valueAt(net, layer.first, channel, row, column), parts };
    }
    const same = operation.inputs.filter((value) => String(net.shapes[value]) === String(operation.shape));
    return { ...found, kind: "steps", parts: same.map((value) => valueAt(net, value, channel, row, column)) };
  }

  /** @param {Net} net @param {number} value @param {number} channel @param {number} row @param {number} column */
  function valueAt(net, value, channel, row, column) {
    const [, rows = 1, columns = 1] = PellucidProgram.shown(net.shapes[value]);
    return net.values[value][(channel * rows + row) * columns + column];
  }

  /** The layer that a value belongs to; "" for the picture. @param {Net} net @param {number} value */
  function layerOf(net, value) {
    const before = net.layers.filter((layer) => layer.value <= value).pop();
    return before && value ? before.name : "";
  }

  /**
   * What a layer does after its sum, or, without one, all it does.
   * @param {Net} net @param {Layer} layer @param {number} channel @param {number} row @param {number} column
   */
  function stepsAfter(net, layer, channel, row, column) {
    const { operations } = net.program,
      first = ["conv2d", "linear", "matmul"].includes(layer.kinds[0]) || layer.kinds[0].includes("pool");
    const steps = [];
    for (let value = layer.first + (first ? 1 : 0); value <= layer.value; value++) {
      const { kind, tensors, shape } = operations[value - 1];
      if (MOVED.includes(kind) || String(shape) !== String(layer.whole)) continue;
      /** @type {Step} */
      const step = {
        name: kind === "affine" ? "batch_norm" : kind,
        value: valueAt(net, value, channel, row, column),
      };
      if (kind === "affine") [step.factor, step.term] = tensors.map((tensor) => net.weights[tensor][channel]);
      steps.push(step);
    }
    return steps;
  }

  /**
   * The products of a sum, input channel by input channel. A part of a convolution is one input channel with its
   * kernel and the patch under it; a part of a dense layer one input with its weight.
   * @param {Trace} found
   * @param {{kernel: number[] | null, weights: Float32Array, patch: Float32Array, first: number, bias: number}} sum
   * @returns {Trace}
   */
  function summed(found, { kernel, weights, patch, first, bias }) {
    const each = kernel ? kernel[0] * kernel[1] : 1;
    const products = Array.from({ length: weights.length / each }, (_, at) => {
      if (!kernel) return { channel: at, factor: weights[at], input: patch[at], sum: weights[at] * patch[at] };
      const [own, met] = [weights, patch].map((all) => all.subarray(at * each, (at + 1) * each));
      const sum = own.reduce((total, factor, tap) => total + factor * met[tap], 0);
      return { channel: first + at, kernel: own, patch: met, sum };
    });
    const total = products.reduce((sum, product) => sum + product.sum, bias);
    return { ...found, kernel, weights, first, bias, products, total };
  }

  /** A cell of a product of two matrices: the products of a row of the one and a column of the other.
   * @param {Trace} found @param {Net} net @param {OperationData} operation @param {number} cell */
  function multiplied(found, net, operation, cell) {
    const { first, second } = operation,
      [left, right] = operation.inputs.map((value) => net.values[value]);
    const [rows, inner] = first.slice(-2),
      columns = second[second.length - 1];
    const batch = first.slice(0, -2).map((/** @type {number} */ side, /** @type {number} */ axis) => Math.max(side, second[axis]));
    const at = Math.floor(cell / (rows * columns)),
      [a, b] = [first, second].map((shape) => {
        const places = PellucidTensors.broadcast(shape.slice(0, -2), batch);
        return places ? places[at] : at;
      });
    const row = Math.floor(cell / columns) % rows,
      column = cell % columns;
    const products = Array.from({ length: inner }, (_, channel) => {
      const input = left[(a * rows + row) * inner + channel],
        factor = right[(b * inner + channel) * columns + column];
      return { channel, input, factor, sum: input * factor };
    });
    return { ...found, products, bias: 0, total: products.reduce((sum, product) => sum + product.sum, 0) };
  }

  /** The weights of a unit, and the row of the input that they meet.
   * @param {Net} net @param {OperationData} operation @param {number} unit @param {number} row */
  function unitOf(net, operation, unit, row) {
    const weight = net.weights[operation.tensors[0]],
      each = weight.length / (operation.shape[operation.shape.length - 1] || 1);
    return {
      weights: weight.subarray(unit * each, (unit + 1) * each),
      patch: net.values[operation.inputs[0]].subarray(row * each, (row + 1) * each),
    };
  }

  /**
   * The weights that make a channel, what they meet at a cell, and the first input channel they read.
   * @param {Net} net @param {OperationData} operation @param {number} filter @param {number} y @param {number} x
   */
  function productsOf(net, operation, filter, y, x) {
    const weight = net.weights[operation.tensors[0]],
      input = net.values[operation.inputs[0]];
    const each = weight.length / operation.shape[0],
      weights = weight.subarray(filter * each, (filter + 1) * each);
    const [channels, height, width] = net.shapes[operation.inputs[0]];
    const [kh, kw] = operation.kernel,
      share = channels / operation.groups;
    const first = Math.floor(filter / (operation.shape[0] / operation.groups)) * share;
    const patch = weights.map((_, at) => {
      const channel = Math.floor(at / (kh * kw)),
        tap = at % (kh * kw);
      const row = y * operation.stride[0] - operation.padding[0] + Math.floor(tap / kw) * operation.dilation[0];
      const column = x * operation.stride[1] - operation.padding[1] + (tap % kw) * operation.dilation[1];
      if (row < 0 || column < 0 || row >= height || column >= width) return 0;
      return input[((first + channel) * height + row) * width + column];
    });
    return { weights, patch, first };
  }

  /** @param {Float32Array} input @param {OperationData} operation @param {number[]} shape @param {Cell} cell */
  function windowOf(input, operation, shape, { channel, row: y, column: x }) {
    const { down, across, width, height } = PellucidWindows.windowsOf(operation, shape);
    const cells = [];
    for (let row = down[y][0]; row < down[y][1]; row++) {
      for (let column = across[x][0]; column < across[x][1]; column++) {
        cells.push(input[(channel * height + row) * width + column]);
      }
    }
    return cells;
  }

  return { summed, trace };
})();
