"use strict";
// A network run in the page: a forward and a backward pass over a short list of plain operations, every value
// kept. pad/program.py lowers any network to that list and is its oracle.
const PellucidProgram = (() => {
  const { KINDS, size, softmax } = PellucidOperations;
  const MOVED = ["view", "permute", "index", "constant"]; // no layers of their own: the same numbers once more

  /**
   * @param {ProgramData} program
   * @param {Float32Array[]} weights  one a tensor
   * @returns {Net}
   */
  function create(program, weights) {
    const shapes = [program.shape, ...program.operations.map((operation) => operation.shape)];
    /** @type {Net} */
    const net = {
      program,
      weights,
      shapes,
      values: shapes.map((shape) => new Float32Array(size(shape))),
      gradients: [],
      layers: layersOf(program),
      last: shapes.length - 1,
      run,
      backward,
    };
    const runners = program.operations.map((operation, at) => KINDS[operation.kind](operation, at + 1, net));

    // All values for one picture (C, H, W) of 0..1; `off`: channels that are silenced, so that everything after
    // their value works without them.
    /** @type {Net["run"]} */
    function run(picture, off) {
      net.values[0].set(picture);
      for (let index = 1; index <= net.last; index++) {
        runners[index - 1].forward();
        const channels = off && off.get(index);
        if (channels) silence(net.values[index], shown(net.shapes[index])[0], channels);
      }
      return net.values[net.last];
    }

    // The gradient at value `to` of the sum of seed x scores, for the last run.
    /** @type {Net["backward"]} */
    function backward(seed, to, off) {
      for (let index = to; index <= net.last; index++) {
        net.gradients[index] = net.gradients[index] || new Float32Array(size(shapes[index]));
        net.gradients[index].fill(0);
      }
      const from = net.last;
      net.gradients[from].set(seed);
      for (let index = from; index > to; index--) {
        const channels = off && off.get(index);
        if (channels) silence(net.gradients[index], shown(net.shapes[index])[0], channels);
        runners[index - 1].backward(to);
      }
      return net.gradients[to];
    }
    return net;
  }

  /** A value's shape as maps (C, H, W) or units (F,): tokens are one map, a row each; of more dimensions, the last
   * two are a map. @param {number[]} shape */
  function shown(shape) {
    if (shape.length < 2) return [size(shape)];
    return [size(shape.slice(0, -2)), ...shape.slice(-2)];
  }

  /** @param {ProgramData} program @returns {Layer[]} */
  function layersOf(program) {
    /** @type {Layer[]} */
    const layers = [];
    program.operations.forEach(({ kind, layer: name, shape: whole }, at) => {
      if (MOVED.includes(kind)) return;
      const value = at + 1,
        shape = shown(whole),
        before = layers[layers.length - 1];
      if (before && before.name === name) {
        Object.assign(before, { value, shape, whole });
        before.kinds.push(kind);
      } else layers.push({ name, value, first: value, kinds: [kind], shape, whole, field: null });
    });
    return layers;
  }

  /** The layer whose maps show where the evidence lies: the last with more than one cell that does not pool, of those
   * through which all goes that reaches the scores. @param {ProgramData} program @param {Layer[]} layers */
  function evidenceLayer({ operations }, layers) {
    const read = new Int32Array(operations.length + 1); // by value: who reads it last
    operations.forEach(({ inputs }, at) => inputs.forEach((from) => (read[from] = at + 1)));
    let reach = 0;
    const passed = Array.from(read, (last, value) => {
      const all = reach <= value; // whether nothing before this value is read after it
      reach = Math.max(reach, operations[value - 1] && operations[value - 1].kind === "constant" ? 0 : last);
      return all;
    });
    const spatial = layers.filter(
      ({ value, shape }) => operations[value - 1].spatial && shape[1] * shape[2] > 1 && passed[value],
    );
    const own = spatial.filter((layer) => !layer.kinds.some((kind) => kind.includes("pool")));
    return own[own.length - 1] || spatial[spatial.length - 1] || null;
  }

  /** @param {Float32Array} values @param {number} count @param {Iterable<number>} channels */
  function silence(values, count, channels) {
    const plane = values.length / count;
    for (const channel of channels) values.fill(0, channel * plane, (channel + 1) * plane);
  }

  /**
   * Gradient x activation at `layer`, summed over channels (HiResCAM, arXiv:2011.08891), for the last run. Where
   * only linear layers follow, the sum is the score less the biases.
   * @param {Net} net @param {Layer | null} layer @param {ArrayLike<number>} seed @param {Map<number, Set<number>>} [off]
   * @returns {Evidence | null}
   */
  function evidence(net, layer, seed, off) {
    if (!layer) return null;
    const gradient = net.backward(seed, layer.value, off);
    const values = net.values[layer.value];
    const [channels, height, width] = layer.shape;
    const cells = new Float32Array(height * width);
    let sum = 0;
    for (let channel = 0, at = 0; channel < channels; channel++) {
      for (let cell = 0; cell < cells.length; cell++, at++) cells[cell] += gradient[at] * values[at];
    }
    for (const cell of cells) sum += cell;
    return { layer, cells, height, width, sum };
  }

  /** What `Classifier.predict` answers: the softmax of the scores, the last value, at its temperature.
   * @param {Net} net @param {number} temperature */
  function probabilities(net, temperature) {
    return softmax(net.values[net.last], temperature);
  }

  /**
   * The pixels that one cell of a value sees, clipped.
   * @param {Net} net @param {number} value @param {number} row @param {number} column
   * @returns {Area}
   */
  function field(net, value, row, column) {
    const [, height, width] = net.program.shape;
    /** @type {Area} */
    const reach = [Infinity, Infinity, -Infinity, -Infinity];
    /** @param {Area} area */
    const meet = ([top, left, bottom, right]) => {
      reach[0] = Math.min(reach[0], top);
      reach[1] = Math.min(reach[1], left);
      reach[2] = Math.max(reach[2], bottom);
      reach[3] = Math.max(reach[3], right);
    };
    /** @param {number} index @param {Area} area */
    const back = (index, area) => {
      if (index === 0) return meet(area);
      const operation = net.program.operations[index - 1];
      for (const from of operation.inputs) {
        const shape = net.shapes[from],
          lies = from === 0 || net.program.operations[from - 1].spatial;
        if (operation.spatial && lies) back(from, seen(operation, area, shape));
        else meet([0, 0, height - 1, width - 1]);
      }
    };
    back(value, [row, column, row, column]);
    return [
      Math.max(0, reach[0]),
      Math.max(0, reach[1]),
      Math.min(height - 1, reach[2]),
      Math.min(width - 1, reach[3]),
    ];
  }

  /** @param {OperationData} operation @param {Area} area @param {number[]} shape @returns {Area} */
  function seen(operation, [top, left, bottom, right], shape) {
    if (operation.kernel) {
      /** @param {number} axis */
      const reach = (axis) =>
        (operation.kernel[axis] - 1) * (operation.dilation ? operation.dilation[axis] : 1);
      /** @param {number} at @param {number} axis */
      const from = (at, axis) => at * operation.stride[axis] - operation.padding[axis];
      return [from(top, 0), from(left, 1), from(bottom, 0) + reach(0), from(right, 1) + reach(1)];
    }
    if (operation.kind.startsWith("adaptive")) {
      const [, rows, columns] = operation.shape,
        { adaptive } = PellucidWindows;
      return [
        adaptive(top, shape[1], rows)[0],
        adaptive(left, shape[2], columns)[0],
        adaptive(bottom, shape[1], rows)[1] - 1,
        adaptive(right, shape[2], columns)[1] - 1,
      ];
    }
    if (operation.kind === "index") {
      /** @param {number} first @param {number} last @param {number} axis @returns {Span} */
      const read = (first, last, axis) => {
        const taken = operation.indices[operation.indices.length - 2 + axis],
          cells = taken ? taken.slice(Math.max(0, first), last + 1).filter((/** @type {number} */ at) => at >= 0) : [first, last];
        return [Math.min(...cells), Math.max(...cells)];
      };
      const [rows, columns] = [read(top, bottom, 0), read(left, right, 1)];
      return [rows[0], columns[0], rows[1], columns[1]];
    }
    if (operation.kind === "resize") {
      /** @param {number} first @param {number} last @param {number} axis @returns {Span} */
      const read = (first, last, axis) => {
        const taken = PellucidResize.readings(shape[axis], operation.shape[axis], operation.antialias, operation.align_corners),
          end = taken[last];
        return [taken[first].first, end.first + end.shares.length - 1];
      };
      // a window's zeros lie outside of the picture
      const side = (/** @type {number} */ at, /** @type {number} */ axis) =>
        Math.min(operation.shape[axis] - 1, Math.max(0, at));
      const [rows, columns] = [
        read(side(top, 1), side(bottom, 1), 1),
        read(side(left, 2), side(right, 2), 2),
      ];
      return [rows[0], columns[0], rows[1], columns[1]];
    }
    const spreads = shape[1] === 1 && shape[2] === 1; // one number for the whole map
    return spreads ? [0, 0, 0, 0] : [top, left, bottom, right];
  }

  return { MOVED, create, evidence, evidenceLayer, field, probabilities, shown };
})();
