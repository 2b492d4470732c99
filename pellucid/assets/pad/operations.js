"use strict";
// What each kind of operation does, forward and backward, on the values of a network: the list of pad/program.py.
const PellucidOperations = (() => {
  const T = PellucidTensors,
    { broadcast, size } = T;

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
      outputs = operation.shape[operation.shape.length - 1] || 1,
      rows = size(operation.shape) / outputs,
      inputs = size(net.shapes[from]) / rows;
    const [weightIndex, biasIndex] = operation.tensors;
    if (rows > 1) return linearOfRows(operation, index, net, { rows, inputs, outputs });
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

  /** The same for every token, or every place of a map.
   * @param {OperationData} operation @param {number} index @param {Net} net
   * @param {{rows: number, inputs: number, outputs: number}} sides @returns {Runner} */
  function linearOfRows(operation, index, net, { rows, inputs, outputs }) {
    const from = operation.inputs[0],
      [weightIndex, biasIndex] = operation.tensors;
    /** @type {Float32Array | null} */
    let known = null;
    let turned = new Float32Array(0);
    return {
      forward() {
        const weight = net.weights[weightIndex],
          output = net.values[index].fill(0);
        if (known !== weight) [known, turned] = [weight, T.transposed(weight, outputs, inputs)];
        if (biasIndex !== undefined) for (let row = 0; row < rows; row++) output.set(net.weights[biasIndex], row * outputs);
        PellucidWindows.addProduct(net.values[from], turned, output, { filters: rows, channels: inputs, plane: outputs });
      },
      backward(to) {
        if (from < to) return;
        const sides = { filters: rows, channels: outputs, plane: inputs };
        PellucidWindows.addProduct(net.gradients[index], net.weights[weightIndex], net.gradients[from], sides);
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
  /** @param {number} x */
  const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
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

  /** Of what is larger by so much, its share of the slope. @param {number} lead */
  const half = (lead) => (lead > 0 ? 1 : lead < 0 ? 0 : 0.5);

  /** @typedef {(a: number, b: number) => number} TwoNumbers */
  /** value, slope by the first, slope by the second @type {Record<string, [TwoNumbers, TwoNumbers, TwoNumbers]>} */
  const TWO = {
    add: [(a, b) => a + b, () => 1, () => 1],
    sub: [(a, b) => a - b, () => 1, () => -1],
    mul: [(a, b) => a * b, (a, b) => b, (a) => a],
    div: [(a, b) => a / b, (a, b) => 1 / b, (a, b) => -a / (b * b)],
    pow: [(a, b) => a ** b, (a, b) => b * a ** (b - 1), (a, b) => a ** b * Math.log(a)],
    prelu: [(a, b) => (a > 0 ? a : a * b), (a, b) => (a > 0 ? 1 : b), (a) => (a > 0 ? 0 : a)],
    maximum: [Math.max, (a, b) => half(a - b), (a, b) => half(b - a)],
    minimum: [Math.min, (a, b) => half(b - a), (a, b) => half(a - b)],
    gt: [(a, b) => Number(a > b), () => 0, () => 0],
    ge: [(a, b) => Number(a >= b), () => 0, () => 0],
    eq: [(a, b) => Number(a === b), () => 0, () => 0],
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

  /** Of two values the one or the other. @type {Kind} */
  function where(operation, index, net) {
    const [condition, first, second] = operation.inputs.map((from) => ({
      from,
      indices: broadcast(net.shapes[from], operation.shape),
    }));
    /** @param {number} cell */
    function chosen(cell) {
      const asked = condition.indices ? condition.indices[cell] : cell,
        { from, indices } = net.values[condition.from][asked] ? first : second;
      return { from, place: indices ? indices[cell] : cell };
    }
    return {
      forward() {
        const output = net.values[index];
        for (let cell = 0; cell < output.length; cell++) {
          const { from, place } = chosen(cell);
          output[cell] = net.values[from][place];
        }
      },
      backward(to) {
        net.gradients[index].forEach((slope, cell) => {
          const { from, place } = chosen(cell);
          if (from >= to) net.gradients[from][place] += slope;
        });
      },
    };
  }

  /** An operation on maps for several of them, one after the other. @param {Kind} kind @returns {Kind} */
  const sliced = (kind) => (operation, index, net) => {
    const { slices } = operation,
      from = operation.inputs[0];
    if (!slices) return kind(operation, index, net);
    const inner = { ...operation, inputs: [0], shape: operation.shape.slice(1), slices: 0 };
    const runners = Array.from({ length: slices }, (_, at) => {
      /** @param {Float32Array} all */
      const part = (all) => all.subarray((at * all.length) / slices, ((at + 1) * all.length) / slices);
      const one = {
        shapes: [net.shapes[from].slice(1), inner.shape],
        values: [part(net.values[from]), part(net.values[index])],
        get weights() {
          return net.weights;
        },
        get gradients() {
          return [part(net.gradients[from]), part(net.gradients[index])];
        },
      };
      return kind(inner, 1, /** @type {Net} */ (/** @type {unknown} */ (one)));
    });
    return {
      forward() {
        for (const runner of runners) runner.forward();
      },
      backward(to) {
        if (from >= to) for (const runner of runners) runner.backward(0);
      },
    };
  };

  /** @type {Record<string, Kind>} */
  const KINDS = {
    linear,
    relu,
    clamp,
    where,
    matmul: T.matmul,
    cat: T.cat,
    view: T.view,
    constant: T.constant,
    permute: T.permute,
    index: T.index,
    layer_norm: T.norm,
    group_norm: T.norm,
    softmax: T.softmax(false),
    log_softmax: T.softmax(true),
    ...Object.fromEntries(["mean", "sum", "amax", "amin"].map((kind) => [kind, T.reduce(kind)])),
    ...Object.fromEntries(Object.keys(TWO).map((kind) => [kind, arithmetic(kind)])),
    affine: sliced(affine),
    resize: sliced(PellucidResize.resize),
    conv2d: sliced(PellucidWindows.conv2d),
    max_pool2d: sliced(PellucidWindows.maxPool),
    adaptive_max_pool2d: sliced(PellucidWindows.maxPool),
    avg_pool2d: sliced(PellucidWindows.averagePool),
    adaptive_avg_pool2d: sliced(PellucidWindows.averagePool),
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
    elu: pointwise(
      (x, o) => o.scale * (x > 0 ? x : o.alpha * Math.expm1(o.input_scale * x)),
      (x, y, o) => o.scale * (x > 0 ? 1 : o.alpha * o.input_scale * Math.exp(o.input_scale * x)),
    ),
    softplus: pointwise(
      (x, o) => (x * o.beta > o.threshold ? x : softplus(x * o.beta) / o.beta),
      (x, y, o) => (x * o.beta > o.threshold ? 1 : sigmoid(x * o.beta)),
    ),
    mish: pointwise(
      (x) => x * Math.tanh(softplus(x)),
      (x) => Math.tanh(softplus(x)) + x * (1 - Math.tanh(softplus(x)) ** 2) * sigmoid(x),
    ),
    abs: pointwise(Math.abs, Math.sign),
    exp: pointwise(Math.exp, (x, y) => y),
    log: pointwise(Math.log, (x) => 1 / x),
    sqrt: pointwise(Math.sqrt, (x, y) => 0.5 / y),
    rsqrt: pointwise(
      (x) => 1 / Math.sqrt(x),
      (x, y) => (-0.5 * y) / x,
    ),
    sin: pointwise(Math.sin, Math.cos),
    cos: pointwise(Math.cos, (x) => -Math.sin(x)),
    erf: pointwise(erf, (x) => (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x)),
    hardswish: pointwise(
      (x) => x * Math.min(1, Math.max(0, x / 6 + 0.5)),
      (x) => (x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + 0.5),
    ),
  };

  return { KINDS, size, softmax };
})();
