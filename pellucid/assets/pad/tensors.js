"use strict";
// Operations on values of any rank: numbers moved, matrices multiplied, and what is taken over dimensions.
const PellucidTensors = (() => {
  const { addProduct } = PellucidWindows;

  /** @param {number[]} shape */
  const size = (shape) => shape.reduce((product, side) => product * side, 1);

  /** How far apart neighbours along each axis lie. @param {number[]} shape */
  function steps(shape) {
    return shape.map((_, axis) => size(shape.slice(axis + 1)));
  }

  /** @param {number} count @param {number} step */
  const every = (count, step) => Array.from({ length: count }, (_, at) => at * step);

  /**
   * The places of all cells, of the distances along each axis, the last axis quickest; negative: no place.
   * @param {number[][]} axes
   */
  function placesOf(axes) {
    let places = Int32Array.of(0);
    for (const distances of axes) {
      const next = new Int32Array(places.length * distances.length);
      let to = 0;
      for (const place of places) {
        for (const distance of distances) next[to++] = place < 0 || distance < 0 ? -1 : place + distance;
      }
      places = next;
    }
    return places;
  }

  /**
   * Where each cell of the outcome finds its operand; null when both have the same shape.
   * @param {number[]} shape @param {number[]} outcome
   */
  function broadcast(shape, outcome) {
    const own = shape.length > outcome.length ? shape.slice(shape.length - outcome.length) : shape;
    const aligned = [...Array(outcome.length - own.length).fill(1), ...own];
    if (aligned.every((side, axis) => side === outcome[axis])) return null;
    const step = steps(aligned);
    return placesOf(outcome.map((count, axis) => every(count, aligned[axis] === 1 ? 0 : step[axis])));
  }

  // --- numbers moved

  /** @param {(operation: OperationData) => Int32Array} find @returns {Kind} */
  const moved = (find) => (operation, index, net) => {
    const from = operation.inputs[0],
      places = find(operation),
      fill = operation.fill || 0;
    return {
      forward() {
        const input = net.values[from],
          output = net.values[index];
        for (let at = 0; at < output.length; at++) output[at] = places[at] < 0 ? fill : input[places[at]];
      },
      backward(to) {
        if (from < to) return;
        const gradient = net.gradients[index],
          result = net.gradients[from];
        for (let at = 0; at < gradient.length; at++) if (places[at] >= 0) result[places[at]] += gradient[at];
      },
    };
  };

  const permute = moved(({ view: shape, axes }) => {
    const step = steps(shape);
    return placesOf(axes.map((/** @type {number} */ axis) => every(shape[axis], step[axis])));
  });

  const index = moved(({ view: shape, indices }) => {
    const step = steps(shape);
    return placesOf(
      shape.map((/** @type {number} */ side, /** @type {number} */ axis) =>
        indices[axis] ? indices[axis].map((/** @type {number} */ at) => at * step[axis]) : every(side, step[axis]),
      ),
    );
  });

  /** @param {Float32Array} sum @param {Float32Array} more */
  function add(sum, more) {
    for (let at = 0; at < sum.length; at++) sum[at] += more[at];
  }

  /** @type {Kind} */
  function cat(operation, index, net) {
    const { inputs, outer } = operation;
    /** @param {(from: number, start: number, end: number, to: number) => void} visit  of every stretch of an input */
    function each(visit) {
      for (let block = 0, to = 0; block < outer; block++) {
        for (const from of inputs) {
          const count = net.values[from].length / outer;
          visit(from, block * count, (block + 1) * count, to);
          to += count;
        }
      }
    }
    return {
      forward() {
        each((from, start, end, to) => net.values[index].set(net.values[from].subarray(start, end), to));
      },
      backward(until) {
        each((from, start, end, to) => {
          if (from < until) return;
          add(net.gradients[from].subarray(start, end), net.gradients[index].subarray(to, to + end - start));
        });
      },
    };
  }

  /** @type {Kind} */
  function view(operation, index, net) {
    const from = operation.inputs[0];
    return {
      forward: () => net.values[index].set(net.values[from]),
      backward(to) {
        if (from >= to) add(net.gradients[from], net.gradients[index]);
      },
    };
  }

  /** What does not depend on the picture. @type {Kind} */
  function constant(operation, index, net) {
    return { forward: () => net.values[index].set(net.weights[operation.tensors[0]]), backward: () => {} };
  }

  // --- matrices

  /** @param {Float32Array} matrix @param {number} rows @param {number} columns */
  function transposed(matrix, rows, columns) {
    const turned = new Float32Array(matrix.length);
    for (let row = 0, at = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, at++) turned[column * rows + row] = matrix[at];
    }
    return turned;
  }

  /** @type {Kind} */
  function matmul(operation, index, net) {
    const [left, right] = operation.inputs,
      { first, second } = operation;
    const [rows, inner] = first.slice(-2),
      columns = second[second.length - 1];
    const batch = first.slice(0, -2).map((/** @type {number} */ side, /** @type {number} */ axis) => Math.max(side, second[axis]));
    const count = size(batch),
      own = [first, second].map((shape) => broadcast(shape.slice(0, -2), batch));
    /** @param {Float32Array} all @param {number} which @param {number} at */
    const part = (all, which, at) => {
      const each = which ? inner * columns : rows * inner,
        places = own[which],
        place = (places ? places[at] : at) * each;
      return all.subarray(place, place + each);
    };
    /** @param {Float32Array} all @param {number} at */
    const outcome = (all, at) => all.subarray(at * rows * columns, (at + 1) * rows * columns);
    return {
      forward() {
        const output = net.values[index].fill(0);
        for (let at = 0; at < count; at++) {
          const sides = { filters: rows, channels: inner, plane: columns };
          addProduct(part(net.values[left], 0, at), part(net.values[right], 1, at), outcome(output, at), sides);
        }
      },
      backward(to) {
        for (let at = 0; at < count; at++) {
          const gradient = outcome(net.gradients[index], at);
          if (left >= to) {
            const turned = transposed(part(net.values[right], 1, at), inner, columns);
            const sides = { filters: rows, channels: columns, plane: inner };
            addProduct(gradient, turned, part(net.gradients[left], 0, at), sides);
          }
          if (right >= to) {
            const turned = transposed(part(net.values[left], 0, at), rows, inner);
            const sides = { filters: inner, channels: rows, plane: columns };
            addProduct(turned, gradient, part(net.gradients[right], 1, at), sides);
          }
        }
      },
    };
  }

  // --- over dimensions

  /** The largest or smallest, the mean or the sum. @param {string} kind @returns {Kind} */
  const reduce = (kind) => (operation, index, net) => {
    const from = operation.inputs[0],
      { view: shape, dims } = operation;
    const step = steps(shape.map((/** @type {number} */ side, /** @type {number} */ axis) => (dims.includes(axis) ? 1 : side)));
    const places = placesOf(
      shape.map((/** @type {number} */ side, /** @type {number} */ axis) => every(side, dims.includes(axis) ? 0 : step[axis])),
    );
    const sums = kind === "mean" || kind === "sum",
      share = kind === "mean" ? size(operation.shape) / places.length : 1,
      sign = kind === "amin" ? -1 : 1;
    return {
      forward() {
        const input = net.values[from],
          output = net.values[index].fill(sums ? 0 : -Infinity * sign);
        for (let at = 0; at < input.length; at++) {
          const to = places[at];
          if (sums) output[to] += input[at] * share;
          else if (input[at] * sign > output[to] * sign) output[to] = input[at];
        }
      },
      backward(to) {
        if (from < to) return;
        const input = net.values[from],
          output = net.values[index],
          gradient = net.gradients[index],
          result = net.gradients[from];
        const equals = new Float32Array(sums ? 0 : output.length); // the largest ones share the gradient
        if (!sums) for (let at = 0; at < input.length; at++) if (input[at] === output[places[at]]) equals[places[at]]++;
        for (let at = 0; at < input.length; at++) {
          const place = places[at];
          if (sums) result[at] += gradient[place] * share;
          else if (input[at] === output[place]) result[at] += gradient[place] / equals[place];
        }
      },
    };
  };

  /** @param {boolean} logarithm @returns {Kind} */
  const softmax = (logarithm) => (operation, index, net) => {
    const from = operation.inputs[0],
      { count, inner } = operation,
      all = size(operation.shape);
    /** @param {(start: number, end: number) => void} visit  of every row, its numbers `inner` apart */
    function each(visit) {
      for (let block = 0; block < all; block += count * inner) {
        for (let at = 0; at < inner; at++) visit(block + at, block + at + count * inner);
      }
    }
    return {
      forward() {
        const input = net.values[from],
          output = net.values[index];
        each((start, end) => {
          let most = -Infinity,
            sum = 0;
          for (let at = start; at < end; at += inner) if (input[at] > most) most = input[at];
          for (let at = start; at < end; at += inner) sum += Math.exp(input[at] - most);
          for (let at = start; at < end; at += inner) {
            output[at] = logarithm ? input[at] - most - Math.log(sum) : Math.exp(input[at] - most) / sum;
          }
        });
      },
      backward(to) {
        if (from < to) return;
        const output = net.values[index],
          gradient = net.gradients[index],
          result = net.gradients[from];
        each((start, end) => {
          let sum = 0;
          for (let at = start; at < end; at += inner) sum += logarithm ? gradient[at] : gradient[at] * output[at];
          for (let at = start; at < end; at += inner) {
            result[at] += logarithm ? gradient[at] - Math.exp(output[at]) * sum : output[at] * (gradient[at] - sum);
          }
        });
      },
    };
  };

  /** Groups of numbers brought to mean 0 and variance 1, then a factor and a term. @type {Kind} */
  function norm(operation, index, net) {
    const from = operation.inputs[0],
      { count, each, epsilon } = operation,
      [factorIndex, termIndex] = operation.tensors;
    const groups = size(operation.shape) / count,
      inverse = new Float64Array(groups),
      means = new Float64Array(groups);
    return {
      forward() {
        const input = net.values[from],
          output = net.values[index],
          factor = factorIndex === undefined ? null : net.weights[factorIndex];
        for (let group = 0; group < groups; group++) {
          const start = group * count,
            end = start + count;
          let sum = 0,
            squares = 0;
          for (let at = start; at < end; at++) sum += input[at];
          const mean = (means[group] = sum / count);
          for (let at = start; at < end; at++) squares += (input[at] - mean) ** 2;
          const scale = (inverse[group] = 1 / Math.sqrt(squares / count + epsilon));
          for (let at = start; at < end; at++) output[at] = (input[at] - mean) * scale;
        }
        if (!factor) return;
        const term = net.weights[termIndex];
        for (let at = 0; at < output.length; at++) {
          const place = Math.floor(at / each) % factor.length;
          output[at] = output[at] * factor[place] + term[place];
        }
      },
      backward(to) {
        if (from < to) return;
        const input = net.values[from],
          gradient = Float32Array.from(net.gradients[index]),
          result = net.gradients[from],
          factor = factorIndex === undefined ? null : net.weights[factorIndex];
        if (factor) gradient.forEach((slope, at) => (gradient[at] = slope * factor[Math.floor(at / each) % factor.length]));
        for (let group = 0; group < groups; group++) {
          const start = group * count,
            scale = inverse[group];
          let sum = 0,
            along = 0;
          for (let at = start; at < start + count; at++) {
            sum += gradient[at];
            along += gradient[at] * (input[at] - means[group]) * scale;
          }
          for (let at = start; at < start + count; at++) {
            const normal = (input[at] - means[group]) * scale;
            result[at] += scale * (gradient[at] - sum / count - (normal * along) / count);
          }
        }
      },
    };
  }

  return { add, broadcast, cat, constant, index, matmul, norm, permute, reduce, size, softmax, transposed, view };
})();
