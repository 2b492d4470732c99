"use strict";
// A network run in the page: a forward and a backward pass over a short list of plain operations, every value
// kept. The list is the one of exporters/lowering.py, which lowers any network to it and is its oracle.
const PellucidNetwork = (() => {
  const size = (shape) => shape.reduce((product, side) => product * side, 1);

  // create(program, weights): program as lowering.py writes it, weights one Float32Array a tensor.
  function create(program, weights) {
    const shapes = [program.shape, ...program.operations.map((operation) => operation.shape)];
    const net = {
      program,
      weights,
      shapes,
      values: shapes.map((shape) => new Float32Array(size(shape))),
      gradients: [],
      layers: layersOf(program),
      last: shapes.length - 1,
    };
    const steps = program.operations.map((operation, index) =>
      KINDS[operation.kind](operation, index + 1, net),
    );

    // run(picture, off): all values for one picture (C, H, W) of 0..1; `off` maps a value's index to the
    // channels that are silenced, so that everything after them works without them.
    net.run = (picture, off) => {
      net.values[0].set(picture);
      for (let index = 1; index <= net.last; index++) {
        steps[index - 1].forward();
        if (off && off.has(index)) silence(net, index, off.get(index));
      }
      return net.values[net.last];
    };

    // backward(seed, to): the gradient at value `to` of the sum of seed x scores, for the last run.
    net.backward = (seed, to, off) => {
      for (let index = to; index <= net.last; index++) {
        net.gradients[index] = net.gradients[index] || new Float32Array(size(shapes[index]));
        net.gradients[index].fill(0);
      }
      const from = scoresOf(net);
      net.gradients[from].set(seed);
      for (let index = from; index > to; index--) {
        if (off && off.has(index)) silence(net, index, off.get(index), net.gradients);
        steps[index - 1].backward(to);
      }
      return net.gradients[to];
    };
    // The pixels that a cell of a layer sees; how it came about.
    net.field = (layer, y, x) => field(net, layer.value, y, x);
    net.working = ({ layer, channel, row, column }) => sums(net, layer, channel, row, column);
    return net;
  }

  // The value that holds scores: the last one, or what a final softmax was given.
  function scoresOf(net) {
    return net.program.output === "logits" ? net.last : net.program.operations[net.last - 1].inputs[0];
  }

  function layersOf(program) {
    const layers = [];
    program.operations.forEach((operation, index) => {
      if (operation.kind === "view") return; // the same numbers once more
      const before = layers[layers.length - 1];
      if (before && before.name === operation.layer) {
        before.value = index + 1;
        before.kinds.push(operation.kind);
      } else {
        layers.push({ name: operation.layer, value: index + 1, kinds: [operation.kind], first: index + 1 });
      }
      layers[layers.length - 1].shape = operation.shape;
    });
    return layers;
  }

  // The layer whose maps show where the evidence lies: the last with more than one cell that does not pool.
  function evidenceLayer(net) {
    if (net.evidenceAt !== undefined) return net.evidenceAt; // torch.js: chosen by torch
    const spatial = net.layers.filter(
      (layer) => layer.shape.length === 3 && layer.shape[1] * layer.shape[2] > 1,
    );
    const own = spatial.filter((layer) => !layer.kinds.some((kind) => kind.includes("pool")));
    return own[own.length - 1] || spatial[spatial.length - 1] || null;
  }

  function silence(net, index, channels, where) {
    const values = (where || net.values)[index];
    const [count] = net.shapes[index];
    const plane = values.length / count;
    for (const channel of channels) values.fill(0, channel * plane, (channel + 1) * plane);
  }

  // evidence(net, seed): gradient x activation (h, w) at `evidenceLayer`, summed over channels (HiResCAM,
  // arXiv:2011.08891), with its sum. Where only linear layers follow, the sum is the score less the biases.
  function evidence(net, seed, off) {
    const layer = evidenceLayer(net);
    if (!layer) return null;
    const gradient = net.backward(seed, layer.value, off);
    const values = net.values[layer.value];
    const [channels, height, width] = layer.shape;
    const cells = new Float32Array(height * width);
    let sum = 0;
    for (let channel = 0, place = 0; channel < channels; channel++) {
      for (let cell = 0; cell < cells.length; cell++, place++) cells[cell] += gradient[place] * values[place];
    }
    for (const cell of cells) sum += cell;
    return { layer, cells, height, width, sum };
  }

  // Probabilities of the last value, whatever kind of output it is.
  function probabilities(net) {
    const scores = net.values[net.last];
    if (net.program.output === "probabilities") return Float64Array.from(scores);
    if (net.program.output === "log-probabilities") return Float64Array.from(scores, Math.exp);
    return softmax(scores);
  }

  function softmax(scores) {
    const most = Math.max(...scores);
    const powers = Float64Array.from(scores, (score) => Math.exp(score - most));
    const sum = powers.reduce((total, power) => total + power, 0);
    return powers.map((power) => power / sum);
  }

  // --- what each kind of operation does: {forward(), backward(to)}; both read and write net.values/gradients.

  function conv2d(operation, index, net) {
    const from = operation.inputs[0];
    const [channels, height, width] = net.shapes[from];
    const [filters, rows, columns] = operation.shape;
    const [[kh, kw], [sh, sw], [ph, pw], [dh, dw]] = [
      operation.kernel,
      operation.stride,
      operation.padding,
      operation.dilation,
    ];
    const share = channels / operation.groups,
      filtersEach = filters / operation.groups;
    const wide = width + 2 * pw,
      high = height + 2 * ph;
    const padded = new Float32Array(channels * high * wide);
    const plain = kh === 3 && kw === 3 && sh === 1 && sw === 1 && dh === 1 && dw === 1;
    const [weightPlace, biasPlace] = operation.tensors;

    function pad(input) {
      if (!ph && !pw) return input;
      for (let line = 0; line < channels * height; line++) {
        const channel = Math.floor(line / height),
          row = line % height;
        padded.set(input.subarray(line * width, (line + 1) * width), (channel * high + row + ph) * wide + pw);
      }
      return padded;
    }

    function forward() {
      const weight = net.weights[weightPlace],
        bias = biasPlace === undefined ? null : net.weights[biasPlace];
      const input = pad(net.values[from]),
        output = net.values[index];
      const plane = rows * columns;
      for (let filter = 0; filter < filters; filter++) {
        const start = filter * plane,
          first = Math.floor(filter / filtersEach) * share;
        output.fill(bias ? bias[filter] : 0, start, start + plane);
        for (let channel = 0; channel < share; channel++) {
          const w = (filter * share + channel) * kh * kw,
            base = (first + channel) * high * wide;
          if (plain) nine(weight, w, input, base, output, start);
          else any(weight, w, input, base, output, start);
        }
      }
    }

    function nine(weight, w, input, base, output, start) {
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

    function any(weight, w, input, base, output, start) {
      for (let tap = 0; tap < kh * kw; tap++) {
        const factor = weight[w + tap];
        const shift = base + Math.floor(tap / kw) * dh * wide + (tap % kw) * dw;
        for (let row = 0; row < rows; row++) {
          const line = shift + row * sh * wide,
            to = start + row * columns;
          for (let column = 0; column < columns; column++)
            output[to + column] += factor * input[line + column * sw];
        }
      }
    }

    function backward(to) {
      if (from < to) return;
      const weight = net.weights[weightPlace],
        gradient = net.gradients[index];
      const back = new Float32Array(channels * high * wide);
      for (let filter = 0; filter < filters; filter++) {
        const first = Math.floor(filter / filtersEach) * share;
        for (let channel = 0; channel < share; channel++) {
          for (let tap = 0; tap < kh * kw; tap++) {
            const factor = weight[(filter * share + channel) * kh * kw + tap];
            const shift =
              (first + channel) * high * wide + Math.floor(tap / kw) * dh * wide + (tap % kw) * dw;
            for (let row = 0; row < rows; row++) {
              const line = shift + row * sh * wide,
                at = (filter * rows + row) * columns;
              for (let column = 0; column < columns; column++) {
                back[line + column * sw] += factor * gradient[at + column];
              }
            }
          }
        }
      }
      const result = net.gradients[from];
      for (let place = 0; place < result.length; place++) {
        const channel = Math.floor(place / (height * width)),
          cell = place % (height * width);
        result[place] += back[(channel * high + Math.floor(cell / width) + ph) * wide + (cell % width) + pw];
      }
    }
    return { forward, backward };
  }

  function linear(operation, index, net) {
    const from = operation.inputs[0],
      inputs = size(net.shapes[from]),
      outputs = operation.shape[0];
    const [weightPlace, biasPlace] = operation.tensors;
    function forward() {
      const weight = net.weights[weightPlace],
        bias = biasPlace === undefined ? null : net.weights[biasPlace];
      const input = net.values[from],
        output = net.values[index];
      for (let unit = 0; unit < outputs; unit++) {
        let sum = bias ? bias[unit] : 0;
        const start = unit * inputs;
        for (let place = 0; place < inputs; place++) sum += weight[start + place] * input[place];
        output[unit] = sum;
      }
    }
    function backward(to) {
      if (from < to) return;
      const weight = net.weights[weightPlace],
        gradient = net.gradients[index],
        result = net.gradients[from];
      for (let unit = 0; unit < outputs; unit++) {
        const slope = gradient[unit],
          start = unit * inputs;
        if (slope === 0) continue;
        for (let place = 0; place < inputs; place++) result[place] += slope * weight[start + place];
      }
    }
    return { forward, backward };
  }

  function affine(operation, index, net) {
    const from = operation.inputs[0],
      [factorPlace, termPlace] = operation.tensors;
    const plane = size(operation.shape) / operation.shape[0];
    function forward() {
      const factor = net.weights[factorPlace],
        term = net.weights[termPlace];
      const input = net.values[from],
        output = net.values[index];
      for (let channel = 0, place = 0; channel < operation.shape[0]; channel++) {
        for (let cell = 0; cell < plane; cell++, place++) {
          output[place] = input[place] * factor[channel] + term[channel];
        }
      }
    }
    function backward(to) {
      if (from < to) return;
      const factor = net.weights[factorPlace],
        gradient = net.gradients[index],
        result = net.gradients[from];
      for (let place = 0; place < result.length; place++) {
        result[place] += gradient[place] * factor[Math.floor(place / plane)];
      }
    }
    return { forward, backward };
  }

  // The cells of window `at` along one side, inside the picture: [first, after the last, its whole length].
  function windowed(at, kernel, stride, padding, side) {
    const first = at * stride - padding,
      end = Math.min(first + kernel, side + padding);
    return [Math.max(first, 0), Math.min(end, side), end - first];
  }

  function adaptive(at, side, cells) {
    const first = Math.floor((at * side) / cells),
      end = Math.ceil(((at + 1) * side) / cells);
    return [first, end, end - first];
  }

  function windowsOf(operation, shape) {
    const [, height, width] = shape;
    const [, rows = 1, columns = 1] = operation.shape;
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

  function maxPool(operation, index, net) {
    const from = operation.inputs[0],
      chosen = new Int32Array(size(operation.shape));
    const windows = windowsOf(operation, net.shapes[from]);
    const { height, width, rows, columns, down, across } = windows;
    const [dh, dw] = operation.dilation || [1, 1];
    if (dh !== 1 || dw !== 1) {
      // each window's cells lie apart: its ends are those of the spread kernel
      down.forEach((span, at) => {
        span[0] = at * operation.stride[0] - operation.padding[0];
      });
      across.forEach((span, at) => {
        span[0] = at * operation.stride[1] - operation.padding[1];
      });
      down.forEach((span) => {
        span[1] = Math.min(span[0] + (operation.kernel[0] - 1) * dh + 1, height);
      });
      across.forEach((span) => {
        span[1] = Math.min(span[0] + (operation.kernel[1] - 1) * dw + 1, width);
      });
    }
    function forward() {
      const input = net.values[from],
        output = net.values[index];
      let to = 0;
      for (let channel = 0; channel < operation.shape[0]; channel++) {
        const base = channel * height * width;
        for (let row = 0; row < rows; row++) {
          for (let column = 0; column < columns; column++, to++) {
            let most = -Infinity,
              place = -1;
            for (let y = down[row][0]; y < down[row][1]; y += dh) {
              if (y < 0) continue;
              for (let x = across[column][0]; x < across[column][1]; x += dw) {
                if (x < 0) continue;
                const value = input[base + y * width + x];
                if (value > most) {
                  most = value;
                  place = base + y * width + x;
                }
              }
            }
            output[to] = most;
            chosen[to] = place;
          }
        }
      }
    }
    function backward(to) {
      if (from < to) return;
      const gradient = net.gradients[index],
        result = net.gradients[from];
      for (let place = 0; place < gradient.length; place++) {
        if (chosen[place] >= 0) result[chosen[place]] += gradient[place];
      }
    }
    return { forward, backward };
  }

  function averagePool(operation, index, net) {
    const from = operation.inputs[0];
    const { height, width, rows, columns, down, across } = windowsOf(operation, net.shapes[from]);
    const divisor = (y, x) =>
      operation.divisor || (operation.count_padding === false ? (y[1] - y[0]) * (x[1] - x[0]) : y[2] * x[2]);
    function each(visit) {
      for (let channel = 0, to = 0; channel < operation.shape[0]; channel++) {
        for (let row = 0; row < rows; row++) {
          for (let column = 0; column < columns; column++, to++) {
            visit(to, channel * height * width, down[row], across[column]);
          }
        }
      }
    }
    function forward() {
      const input = net.values[from],
        output = net.values[index];
      each((to, base, y, x) => {
        let sum = 0;
        for (let row = y[0]; row < y[1]; row++) {
          for (let column = x[0]; column < x[1]; column++) sum += input[base + row * width + column];
        }
        output[to] = sum / divisor(y, x);
      });
    }
    function backward(to) {
      if (from < to) return;
      const gradient = net.gradients[index],
        result = net.gradients[from];
      each((at, base, y, x) => {
        const share = gradient[at] / divisor(y, x);
        for (let row = y[0]; row < y[1]; row++) {
          for (let column = x[0]; column < x[1]; column++) result[base + row * width + column] += share;
        }
      });
    }
    return { forward, backward };
  }

  // One number at a time: `value(x, operation)` and its slope `slope(x, y, operation)`.
  const pointwise = (value, slope) => (operation, index, net) => {
    const from = operation.inputs[0];
    return {
      forward() {
        const input = net.values[from],
          output = net.values[index];
        for (let place = 0; place < output.length; place++) output[place] = value(input[place], operation);
      },
      backward(to) {
        if (from < to) return;
        const input = net.values[from],
          output = net.values[index];
        const gradient = net.gradients[index],
          result = net.gradients[from];
        for (let place = 0; place < result.length; place++) {
          result[place] += gradient[place] * slope(input[place], output[place], operation);
        }
      },
    };
  };

  // ReLU apart from the others: a third of all steps, and quick this way.
  function relu(operation, index, net) {
    const from = operation.inputs[0];
    return {
      forward() {
        const input = net.values[from],
          output = net.values[index];
        for (let place = 0; place < output.length; place++)
          output[place] = input[place] > 0 ? input[place] : 0;
      },
      backward(to) {
        if (from < to) return;
        const input = net.values[from],
          gradient = net.gradients[index],
          result = net.gradients[from];
        for (let place = 0; place < result.length; place++)
          if (input[place] > 0) result[place] += gradient[place];
      },
    };
  }

  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  // The error function to 1.5e-7 (Abramowitz and Stegun, 7.1.26).
  function erf(x) {
    const t = 1 / (1 + 0.3275911 * Math.abs(x));
    const tail =
      ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    return Math.sign(x) * (1 - tail * Math.exp(-x * x));
  }
  const STEEP = Math.sqrt(2 / Math.PI);
  const bent = (x) => STEEP * (x + 0.044715 * x * x * x);
  function gelu(x, operation) {
    return operation.approximate === "tanh"
      ? 0.5 * x * (1 + Math.tanh(bent(x)))
      : 0.5 * x * (1 + erf(x / Math.SQRT2));
  }
  function geluSlope(x, y, operation) {
    if (operation.approximate === "tanh") {
      const t = Math.tanh(bent(x));
      return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * STEEP * (1 + 3 * 0.044715 * x * x);
    }
    return 0.5 * (1 + erf(x / Math.SQRT2)) + (x * Math.exp(-0.5 * x * x)) / Math.sqrt(2 * Math.PI);
  }

  // Where each cell of the outcome finds its operand: null when both have the same shape.
  function spread(shape, outcome) {
    const own = shape.length > outcome.length ? shape.slice(shape.length - outcome.length) : shape;
    const aligned = [...Array(outcome.length - own.length).fill(1), ...own];
    if (aligned.every((side, axis) => side === outcome[axis])) return null;
    const places = new Int32Array(size(outcome));
    for (let cell = 0; cell < places.length; cell++) {
      let rest = cell,
        place = 0,
        step = 1;
      for (let axis = outcome.length - 1; axis >= 0; axis--) {
        if (aligned[axis] !== 1) place += (rest % outcome[axis]) * step;
        rest = Math.floor(rest / outcome[axis]);
        step *= aligned[axis];
      }
      places[cell] = place;
    }
    return places;
  }

  const TWO = {
    // value, slope by the first, slope by the second
    add: [(a, b) => a + b, () => 1, () => 1],
    sub: [(a, b) => a - b, () => 1, () => -1],
    mul: [(a, b) => a * b, (a, b) => b, (a) => a],
    div: [(a, b) => a / b, (a, b) => 1 / b, (a, b) => -a / (b * b)],
  };

  const arithmetic = (kind) => (operation, index, net) => {
    const [value, slopeFirst, slopeSecond] = TWO[kind];
    const sides = operation.inputs.map((from) => ({
      from,
      read: () => net.values[from],
      places: spread(net.shapes[from], operation.shape),
    }));
    if (sides.length < 2) {
      const number = Float32Array.of(operation.number === null ? 0 : operation.number);
      const constant = operation.tensors.length
        ? {
            from: -1,
            read: () => net.weights[operation.tensors[0]],
            places: spread(net.program.tensors[operation.tensors[0]], operation.shape),
          }
        : { from: -1, read: () => number, places: new Int32Array(size(operation.shape)) };
      if (operation.swapped) sides.unshift(constant);
      else sides.push(constant);
    }
    const [one, other] = sides;
    return {
      forward() {
        const a = one.read(),
          b = other.read(),
          output = net.values[index];
        for (let cell = 0; cell < output.length; cell++) {
          output[cell] = value(
            a[one.places ? one.places[cell] : cell],
            b[other.places ? other.places[cell] : cell],
          );
        }
      },
      backward(to) {
        const a = one.read(),
          b = other.read(),
          gradient = net.gradients[index];
        for (let cell = 0; cell < gradient.length; cell++) {
          const i = one.places ? one.places[cell] : cell,
            j = other.places ? other.places[cell] : cell;
          if (one.from >= to) net.gradients[one.from][i] += gradient[cell] * slopeFirst(a[i], b[j]);
          if (other.from >= to) net.gradients[other.from][j] += gradient[cell] * slopeSecond(a[i], b[j]);
        }
      },
    };
  };

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

  function add(sum, more) {
    for (let place = 0; place < sum.length; place++) sum[place] += more[place];
  }

  const normalised = (logarithm) => (operation, index, net) => {
    const from = operation.inputs[0];
    return {
      forward() {
        const shares = softmax(net.values[from]);
        net.values[index].set(logarithm ? shares.map(Math.log) : shares);
      },
      backward(to) {
        if (from < to) return;
        const shares = softmax(net.values[from]),
          gradient = net.gradients[index];
        let sum = 0;
        gradient.forEach((slope, place) => {
          sum += logarithm ? slope : slope * shares[place];
        });
        gradient.forEach((slope, place) => {
          net.gradients[from][place] += logarithm
            ? slope - shares[place] * sum
            : shares[place] * (slope - sum);
        });
      },
    };
  };

  const KINDS = {
    conv2d,
    linear,
    affine,
    relu,
    cat,
    view,
    max_pool2d: maxPool,
    adaptive_max_pool2d: maxPool,
    avg_pool2d: averagePool,
    adaptive_avg_pool2d: averagePool,
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
    clamp: pointwise(
      (x, o) => Math.min(o.high, Math.max(o.low, x)),
      (x, y, o) => (x > o.low && x < o.high ? 1 : 0),
    ),
  };

  // field(net, value, y, x): the pixels [top, left, bottom, right] (ends included, clipped) that one cell sees.
  function field(net, value, y, x) {
    const [, height, width] = net.program.shape;
    let reach = null;
    const meet = (area) => {
      reach = reach
        ? [
            Math.min(reach[0], area[0]),
            Math.min(reach[1], area[1]),
            Math.max(reach[2], area[2]),
            Math.max(reach[3], area[3]),
          ]
        : area;
    };
    const back = (index, area) => {
      if (index === 0) return meet(area);
      const operation = net.program.operations[index - 1];
      for (const from of operation.inputs) {
        const shape = net.shapes[from];
        if (shape.length !== 3 || operation.shape.length !== 3) {
          meet([0, 0, height - 1, width - 1]);
          continue;
        }
        back(from, seen(operation, area, shape));
      }
    };
    back(value, [y, x, y, x]);
    return [
      Math.max(0, reach[0]),
      Math.max(0, reach[1]),
      Math.min(height - 1, reach[2]),
      Math.min(width - 1, reach[3]),
    ];
  }

  function seen(operation, [top, left, bottom, right], shape) {
    if (operation.kernel) {
      const reach = (axis) =>
        (operation.kernel[axis] - 1) * (operation.dilation ? operation.dilation[axis] : 1);
      const place = (at, axis) => at * operation.stride[axis] - operation.padding[axis];
      return [place(top, 0), place(left, 1), place(bottom, 0) + reach(0), place(right, 1) + reach(1)];
    }
    if (operation.kind.startsWith("adaptive")) {
      const [, rows, columns] = operation.shape;
      return [
        adaptive(top, shape[1], rows)[0],
        adaptive(left, shape[2], columns)[0],
        adaptive(bottom, shape[1], rows)[1] - 1,
        adaptive(right, shape[2], columns)[1] - 1,
      ];
    }
    const spreads = shape[1] === 1 && shape[2] === 1; // one number for the whole map
    return spreads ? [0, 0, 0, 0] : [top, left, bottom, right];
  }

  // sums(net, layer, channel, y, x): how a cell of a layer came about, as explanation/workings.py tells it:
  // {kind, received, row, column, value, after, inside}, of a convolution or dense layer also {kernel, first, weights,
  // bias, total, parts}, of a pooling {parts, pooled}: its window and what it made of it, of functions at one place {parts}, what they were given.
  // A part of a convolution is one input channel with its kernel and the patch under it; a part of a dense layer
  // one input with its weight.
  function sums(net, layer, channel, y, x) {
    const operation = net.program.operations[layer.first - 1],
      from = operation.inputs[0];
    const input = net.values[from],
      shape = net.shapes[from];
    const found = {
      kind: operation.kind,
      received: operation.inputs.map((value) => [receivedFrom(net, value)]),
      row: y,
      column: x,
      value: cellOf(net, layer.value, channel, y, x),
      after: following(net, layer, channel, y, x),
      inside: [],
    };
    if (operation.kind === "linear" || operation.kind === "conv2d") {
      const [kernel, patch, first] = under(net, operation, channel, y, x);
      const bias = operation.tensors.length > 1 ? net.weights[operation.tensors[1]][channel] : 0;
      return summed(found, { kernel: operation.kernel || null, weights: kernel, patch, first, bias });
    }
    if (operation.kind.includes("pool")) {
      const first = cellOf(net, layer.first, channel, y, x);
      return { ...found, pooled: first, parts: pooled(operation, input, shape, channel, y, x) };
    }
    const same = operation.inputs.filter((value) => String(net.shapes[value]) === String(operation.shape));
    return { ...found, kind: "steps", parts: same.map((value) => cellOf(net, value, channel, y, x)) };
  }

  function cellOf(net, value, channel, y, x) {
    const [, rows = 1, columns = 1] = net.shapes[value];
    return net.values[value][(channel * rows + y) * columns + x];
  }

  // The layer that a value belongs to; "" for the picture.
  function receivedFrom(net, value) {
    const before = net.layers.filter((layer) => layer.value <= value).pop();
    return before && value ? before.name : "";
  }

  // What a layer does after its sum, or, without one, all it does: {name, value}, of a batch norm {factor, term}.
  function following(net, layer, channel, y, x) {
    const { operations } = net.program,
      first = ["conv2d", "linear"].includes(layer.kinds[0]) || layer.kinds[0].includes("pool");
    const steps = [];
    for (let value = layer.first + (first ? 1 : 0); value <= layer.value; value++) {
      const { kind, tensors, shape } = operations[value - 1];
      if (kind === "view" || String(shape) !== String(layer.shape)) continue;
      const step = { name: kind === "affine" ? "batch_norm" : kind, value: cellOf(net, value, channel, y, x) };
      if (kind === "affine") [step.factor, step.term] = tensors.map((place) => net.weights[place][channel]);
      steps.push(step);
    }
    return steps;
  }

  // summed(found, {kernel, weights, patch, first, bias}): the products of a sum, input channel by input channel.
  function summed(found, { kernel, weights, patch, first, bias }) {
    const each = kernel ? kernel[0] * kernel[1] : 1;
    const parts = Array.from({ length: weights.length / each }, (_, place) => {
      if (!kernel) {
        return { channel: place, factor: weights[place], input: patch[place], sum: weights[place] * patch[place] };
      }
      const [own, met] = [weights, patch].map((all) => all.subarray(place * each, (place + 1) * each));
      const sum = own.reduce((total, factor, tap) => total + factor * met[tap], 0);
      return { channel: first + place, kernel: own, patch: met, sum };
    });
    const total = parts.reduce((sum, part) => sum + part.sum, bias);
    return { ...found, kernel, weights, first, bias, parts, total };
  }

  // The weights that make a channel, what they meet at a cell, and the first input channel they read.
  function under(net, operation, filter, y, x) {
    const weight = net.weights[operation.tensors[0]],
      input = net.values[operation.inputs[0]];
    const each = weight.length / operation.shape[0],
      kernel = weight.subarray(filter * each, (filter + 1) * each);
    if (operation.kind === "linear") return [kernel, input, 0];
    const [channels, height, width] = net.shapes[operation.inputs[0]];
    const [kh, kw] = operation.kernel,
      share = channels / operation.groups;
    const first = Math.floor(filter / (operation.shape[0] / operation.groups)) * share;
    const patch = kernel.map((_, place) => {
      const channel = Math.floor(place / (kh * kw)),
        tap = place % (kh * kw);
      const row = y * operation.stride[0] - operation.padding[0] + Math.floor(tap / kw) * operation.dilation[0];
      const column = x * operation.stride[1] - operation.padding[1] + (tap % kw) * operation.dilation[1];
      if (row < 0 || column < 0 || row >= height || column >= width) return 0;
      return input[((first + channel) * height + row) * width + column];
    });
    return [kernel, patch, first];
  }

  function pooled(operation, input, shape, channel, y, x) {
    const { down, across, width, height } = windowsOf(operation, shape);
    const cells = [];
    for (let row = down[y][0]; row < down[y][1]; row++) {
      for (let column = across[x][0]; column < across[x][1]; column++) {
        cells.push(input[(channel * height + row) * width + column]);
      }
    }
    return cells;
  }

  // --- how weights travel

  function bytesOf(text) {
    const binary = atob(text),
      bytes = new Uint8Array(binary.length);
    for (let place = 0; place < binary.length; place++) bytes[place] = binary.charCodeAt(place);
    return bytes;
  }

  // 16-bit floats (IEEE 754 half) to 32-bit ones.
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

  function cut(numbers, shapes) {
    let start = 0;
    return shapes.map((shape) => numbers.subarray(start, (start += size(shape))));
  }

  // The weights of the page: {precision: "f16" or "f32", data} in base64.
  function unpack(packed, shapes) {
    const bytes = bytesOf(packed.data);
    return cut(packed.precision === "f32" ? new Float32Array(bytes.buffer) : halves(bytes), shapes);
  }

  async function inflate(text) {
    const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // snapshots(packed, shapes): a function that gives the weights at snapshot n. Each matrix is kept as whole
  // steps of one size a channel, snapshot after snapshot as the change since the one before; vectors are halves.
  async function snapshots(packed, shapes) {
    const bytes = await inflate(packed.data);
    const matrices = shapes.filter((shape) => shape.length > 1);
    const vectors = shapes.filter((shape) => shape.length <= 1);
    const changes = matrices.reduce((sum, shape) => sum + size(shape), 0);
    const scales = matrices.reduce((sum, shape) => sum + shape[0], 0);
    const rest = vectors.reduce((sum, shape) => sum + size(shape), 0);
    const steps = new Float32Array(bytes.slice(0, scales * 4).buffer);
    const each = changes + rest * 2,
      kept = [];
    const levels = new Int8Array(changes);
    for (let snapshot = 0, at = scales * 4; snapshot < packed.count; snapshot++, at += each) {
      for (let place = 0; place < changes; place++) levels[place] += bytes[at + place];
      kept.push({ levels: levels.slice(), vectors: halves(bytes.slice(at + changes, at + each)) });
    }
    return (snapshot) => weightsOf(kept[snapshot], steps, shapes);
  }

  function weightsOf({ levels, vectors }, steps, shapes) {
    let level = 0,
      step = 0,
      vector = 0;
    return shapes.map((shape) => {
      const count = size(shape);
      if (shape.length <= 1) return vectors.subarray(vector, (vector += count));
      const weights = new Float32Array(count),
        each = count / shape[0];
      for (let place = 0; place < count; place++) {
        weights[place] = levels[level + place] * steps[step + Math.floor(place / each)];
      }
      level += count;
      step += shape[0];
      return weights;
    });
  }

  return {
    create,
    evidence,
    evidenceLayer,
    field,
    inflate,
    snapshots,
    bytesOf,
    probabilities,
    scoresOf,
    size,
    softmax,
    summed,
    sums,
    unpack,
  };
})();
