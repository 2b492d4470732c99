"use strict";
// What each kind of operation does, forward and backward, on the values of a network: the list of pad/program.py.
const PellucidOperations = (() => {
  /** @param {number[]} shape */
  const size = (shape) => shape.reduce((product, side) => product * side, 1);

  /** @param {ArrayLike<number>} scores @param {number} [temperature] what they are divided by first */
  function softmax(scores, temperature = 1) {
    const most = Math.max(...Array.from(scores));
    const powers = Float64Array.from(scores, (score) => Math.exp((score - most) / temperature));
    const sum = powers.reduce((total, power) => total + power, 0);
    return powers.map((power) => power / sum);
  }

  /** @type {Kind} */
  function linear(operation, index, net) {
    const from = operation.inputs[0],
      inputs = size(net.shapes[from]),
      outputs = operation.shape[0];
    const [weightIndex, biasIndex] = operation.tensors;
    return {
      forward() {
        const weight = net.weights[weightIndex],
          bias = biasIndex === undefined ? null : net.weights[biasIndex];
        const input = net.values[from],
          output = net.values[index];
        for (let unit = 0; unit < outputs; unit++) {
          let sum = bias ? bias[unit] : 0;
          const start = unit * inputs;
          for (let at = 0; at < inputs; at++) sum += weight[start + at] * input[at];
          output[unit] = sum;
        }
      },
      backward(to) {
        if (from < to) return;
        const weight = net.weights[weightIndex],
          gradient = net.gradients[index],
          result = net.gradients[from];
        for (let unit = 0; unit < outputs; unit++) {
          const slope = gradient[unit],
            start = unit * inputs;
          if (slope === 0) continue;
          for (let at = 0; at < inputs; at++) result[at] += slope * weight[start + at];
        }
      },
    };
  }

  /** @type {Kind} */
  function affine(operation, index, net) {
    const from = operation.inputs[0],
      [factorIndex, termIndex] = operation.tensors;
    const plane = size(operation.shape) / operation.shape[0];
    return {
      forward() {
        const factor = net.weights[factorIndex],
          term = net.weights[termIndex];
        const input = net.values[from],
          output = net.values[index];
        for (let channel = 0, at = 0; channel < operation.shape[0]; channel++) {
          for (let cell = 0; cell < plane; cell++, at++) output[at] = input[at] * factor[channel] + term[channel];
        }
      },
      backward(to) {
        if (from < to) return;
        const factor = net.weights[factorIndex],
          gradient = net.gradients[index],
          result = net.gradients[from];
        for (let at = 0; at < result.length; at++) result[at] += gradient[at] * factor[Math.floor(at / plane)];
      },
    };
  }

  /**
   * One number at a time: its value and its slope.
   * @param {(x: number, operation: OperationData) => number} value
   * @param {(x: number, y: number, operation: OperationData) => number} slope
   * @returns {Kind}
   */
  const pointwise = (value, slope) => (operation, index, net) => {
    const from = operation.inputs[0];
    return {
      forward() {
        const input = net.values[from],
          output = net.values[index];
        for (let at = 0; at < output.length; at++) output[at] = value(input[at], operation);
      },
      backward(to) {
        if (from < to) return;
        const input = net.values[from],
          output = net.values[index];
        const gradient = net.gradients[index],
          result = net.gradients[from];
        for (let at = 0; at < result.length; at++) result[at] += gradient[at] * slope(input[at], output[at], operation);
      },
    };
  };

  /** ReLU apart from the others: a third of all steps, and quick this way. @type {Kind} */
  function relu(operation, index, net) {
    const from = operation.inputs[0];
    return {
      forward() {
        const input = net.values[from],
          output = net.values[index];
        for (let at = 0; at < output.length; at++) output[at] = input[at] > 0 ? input[at] : 0;
      },
      backward(to) {
        if (from < to) return;
        const input = net.values[from],
          gradient = net.gradients[index],
          result = net.gradients[from];
        for (let at = 0; at < result.length; at++) if (input[at] > 0) result[at] += gradient[at];
      },
    };
  }

  /** Between two limits, as ReLU6 is: quick this way, too. @type {Kind} */
  function clamp(operation, index, net) {
    const from = operation.inputs[0],
      { low, high } = operation;
    return {
      forward() {
        const input = net.values[from],
          output = net.values[index];
        for (let at = 0; at < output.length; at++) output[at] = Math.min(high, Math.max(low, input[at]));
      },
      backward(to) {
        if (from < to) return;
        const input = net.values[from],
          gradient = net.gradients[index],
          result = net.gradients[from];
        for (let at = 0; at < result.length; at++) {
          if (input[at] > low && input[at] < high) result[at] += gradient[at];
        }
      },
    };
  }

  /** @param {number} x */
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  /** The error function to 1.5e-7 (Abramowitz and Stegun, 7.1.26). @param {number} x */
  function erf(x) {
    const t = 1 / (1 + 0.3275911 * Math.abs(x));
    const tail =
      ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    return Math.sign(x) * (1 - tail * Math.exp(-x * x));
  }
  const STEEP = Math.sqrt(2 / Math.PI);
  /** @param {number} x */
  const bent = (x) => STEEP * (x + 0.044715 * x * x * x);
  /** @param {number} x @param {OperationData} operation */
  function gelu(x, operation) {
    return operation.approximate === "tanh"
      ? 0.5 * x * (1 + Math.tanh(bent(x)))
      : 0.5 * x * (1 + erf(x / Math.SQRT2));
  }
  /** @param {number} x @param {number} y @param {OperationData} operation */
  function geluSlope(x, y, operation) {
    if (operation.approximate === "tanh") {
      const t = Math.tanh(bent(x));
      return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * STEEP * (1 + 3 * 0.044715 * x * x);
    }
    return 0.5 * (1 + erf(x / Math.SQRT2)) + (x * Math.exp(-0.5 * x * x)) / Math.sqrt(2 * Math.PI);
  }

  /**
   * Where each cell of the outcome finds its operand; null when both have the same shape.
   * @param {number[]} shape
   * @param {number[]} outcome
   */
  function broadcast(shape, outcome) {
    const own = shape.length > outcome.length ? shape.slice(shape.length - outcome.length) : shape;
    const aligned = [...Array(outcome.length - own.length).fill(1), ...own];
    if (aligned.every((side, axis) => side === outcome[axis])) return null;
    const indices = new Int32Array(size(outcome));
    for (let cell = 0; cell < indices.length; cell++) {
      let rest = cell,
        index = 0,
        step = 1;
      for (let axis = outcome.length - 1; axis >= 0; axis--) {
        if (aligned[axis] !== 1) index += (rest % outcome[axis]) * step;
        rest = Math.floor(rest / outcome[axis]);
        step *= aligned[axis];
      }
      indices[cell] = index;
    }
    return indices;
  }

  /** @typedef {(a: number, b: number) => number} TwoNumbers */
  /** value, slope by the first, slope by the second @type {Record<string, [TwoNumbers, TwoNumbers, TwoNumbers]>} */
  const TWO = {
    add: [(a, b) => a + b, () => 1, () => 1],
    sub: [(a, b) => a - b, () => 1, () => -1],
    mul: [(a, b) => a * b, (a, b) => b, (a) => a],
    div: [(a, b) => a / b, (a, b) => 1 / b, (a, b) => -a / (b * b)],
  };

  /**
   * The two operands: two values, or a value and a constant. `from` is -1 for what is no value.
   * @param {OperationData} operation
   * @param {Net} net
   */
  function operandsOf(operation, net) {
    const operands = operation.inputs.map((from) => ({
      from,
      read: () => net.values[from],
      indices: broadcast(net.shapes[from], operation.shape),
    }));
    if (operands.length > 1) return operands;
    const number = Float32Array.of(operation.number === null ? 0 : operation.number),
      [tensor] = operation.tensors;
    const constant =
      tensor === undefined
        ? { from: -1, read: () => number, indices: new Int32Array(size(operation.shape)) }
        : { from: -1, read: () => net.weights[tensor], indices: broadcast(net.program.tensors[tensor], operation.shape) };
    return operation.swapped ? [constant, ...operands] : [...operands, constant];
  }

  /** @param {string} kind @returns {Kind} */
  const arithmetic = (kind) => (operation, index, net) => {
    const [value, slopeFirst, slopeSecond] = TWO[kind];
    const [first, second] = operandsOf(operation, net);
    return {
      forward() {
        const a = first.read(),
          b = second.read(),
          output = net.values[index];
        for (let cell = 0; cell < output.length; cell++) {
          output[cell] = value(
            a[first.indices ? first.indices[cell] : cell],
            b[second.indices ? second.indices[cell] : cell],
          );
        }
      },
      backward(to) {
        const a = first.read(),
          b = second.read(),
          gradient = net.gradients[index];
        for (let cell = 0; cell < gradient.length; cell++) {
          const i = first.indices ? first.indices[cell] : cell,
            j = second.indices ? second.indices[cell] : cell;
          if (first.from >= to) net.gradients[first.from][i] += gradient[cell] * slopeFirst(a[i], b[j]);
          if (second.from >= to) net.gradients[second.from][j] += gradient[cell] * slopeSecond(a[i], b[j]);
        }
      },
    };
  };

  /** @param {Float32Array} sum @param {Float32Array} more */
  function add(sum, more) {
    for (let at = 0; at < sum.length; at++) sum[at] += more[at];
  }

  /** @type {Kind} */
  function cat(operation, index, net) {
    return {
      forward() {
        let start = 0;
        for (const from of operation.inputs) {
          net.values[index].set(net.values[from], start);
          start += net.values[from].length;
        }
      },
      backward(to) {
        let start = 0;
        for (const from of operation.inputs) {
          const count = net.values[from].length;
          if (from >= to) add(net.gradients[from], net.gradients[index].subarray(start, start + count));
          start += count;
        }
      },
    };
  }

  /** @type {Kind} */
  function view(operation, index, net) {
    const from = operation.inputs[0];
    return {
      forward() {
        net.values[index].set(net.values[from]);
      },
      backward(to) {
        if (from >= to) add(net.gradients[from], net.gradients[index]);
      },
    };
  }

  /** @param {boolean} logarithm @returns {Kind} */
  const normalised = (logarithm) => (operation, index, net) => {
    const from = operation.inputs[0];
    return {
      forward() {
        const probabilities = softmax(net.values[from]);
        net.values[index].set(logarithm ? probabilities.map(Math.log) : probabilities);
      },
      backward(to) {
        if (from < to) return;
        const probabilities = softmax(net.values[from]),
          gradient = net.gradients[index];
        let sum = 0;
        gradient.forEach((slope, at) => {
          sum += logarithm ? slope : slope * probabilities[at];
        });
        gradient.forEach((slope, at) => {
          net.gradients[from][at] += logarithm ? slope - probabilities[at] * sum : probabilities[at] * (slope - sum);
        });
      },
    };
  };

  /** @type {Record<string, Kind>} */
  const KINDS = {
    linear,
    affine,
    relu,
    clamp,
    resize: PellucidResize.resize,
    cat,
    view,
    conv2d: PellucidWindows.conv2d,
    max_pool2d: PellucidWindows.maxPool,
    adaptive_max_pool2d: PellucidWindows.maxPool,
    avg_pool2d: PellucidWindows.averagePool,
    adaptive_avg_pool2d: PellucidWindows.averagePool,
    add: arithmetic("add"),
    sub: arithmetic("sub"),
    mul: arithmetic("mul"),
    div: arithmetic("div"),
    softmax: normalised(false),
    log_softmax: normalised(true),
    leaky_relu: pointwise(
      (x, o) => (x > 0 ? x : o.slope * x),
      (x, y, o) => (x > 0 ? 1 : o.slope),
    ),
    gelu: pointwise(gelu, geluSlope),
    silu: pointwise(
      (x) => x * sigmoid(x),
      (x) => sigmoid(x) * (1 + x * (1 - sigmoid(x))),
    ),
    sigmoid: pointwise(sigmoid, (x, y) => y * (1 - y)),
    tanh: pointwise(Math.tanh, (x, y) => 1 - y * y),
    hardsigmoid: pointwise(
      (x) => Math.min(1, Math.max(0, x / 6 + 0.5)),
      (x) => (Math.abs(x) < 3 ? 1 / 6 : 0),
    ),
    hardswish: pointwise(
      (x) => x * Math.min(1, Math.max(0, x / 6 + 0.5)),
      (x) => (x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + 0.5),
    ),
  };

  return { KINDS, size, softmax };
})();
