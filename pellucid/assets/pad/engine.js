"use strict";
// The answerer in the page: the network of the page's data, run by program.js.
const PellucidEngine = (() => {
  const P = PellucidProgram;
  const { argmax, scaled } = PellucidImages;
  const { bytesOf, inflate, unpack, unpackSnapshots } = PellucidSnapshots;
  const { size } = PellucidOperations;
  const { random: RANDOM, channel_step: CHANNEL, picture_step: PICTURE, offset: OFFSET } = PellucidConstants.pictures;
  const WARMING = 12, // the first passes are slow: they are not a person's
    WARMED = 300; // milliseconds, after which a large network has been compiled

  /** @typedef {{count: number, at: (index: number) => Uint8Array}} Pool */

  /**
   * @param {PadData} data
   * @returns {Answerer & {net: Net, check: () => CheckResult, ready: boolean}}
   */
  function create(data) {
    const now = unpack(/** @type {WeightsData} */ (data.weights), data.program.tensors);
    const net = P.create(data.program, now),
      layer = P.evidenceLayer(data.program, net.layers);
    const history = historyOf(data, now),
      noveltyOf = data.novelty && PellucidNovelty.create(data.novelty);
    /** @type {Pool | null} */
    let pool = null;

    /** @type {ReturnType<typeof create>} */
    const engine = {
      net,
      layers: net.layers,
      evidenceLayer: layer,
      open: null,
      ready: false,
      last: blank(data.classes.length, layer),
      ask({ pixels, snapshot, off, contrast }, done) {
        net.weights = history.weights(snapshot);
        net.run(scaled(pixels), off);
        engine.last = answerOf(net, P.probabilities(net, data.temperature), layer, off, contrast);
        const whole = snapshot === null && ![...off.values()].some((channels) => channels.size);
        if (noveltyOf && whole) engine.last.novelty = noveltyOf(net);
        done(null);
      },
      values: ({ value }) => net.values[value],
      field: ({ value }, row, column) =>
        data.program.operations[value - 1].spatial ? P.field(net, value, row, column) : null,
      trace: (cell) => PellucidTrace.trace(net, cell),
      past(question, done) {
        const answers = history.answers(question);
        if (answers) done(answers);
      },
      channel: ({ name }, channel) => (pool ? factsOf(data, name, channel, pool.count) : null),
      picture: (index) => pictureOf(data, /** @type {Pool} */ (pool), index),
      scales: async () => data.scales,
      copy: () => P.create(data.program, net.weights),
      check: () => check(data, net),
      load(done) {
        Promise.all([poolOf(data), history.load()]).then(([pictures]) => {
          pool = pictures;
          engine.ready = true;
          done(null);
        }, done);
      },
    };
    warm(net, layer, data);
    return engine;
  }

  /** The weights as they were, once they are unpacked; until then those of now.
   * @param {PadData} data @param {Float32Array[]} now */
  function historyOf({ program, snapshots, temperature }, now) {
    /** @type {Map<number, Float32Array[]>} */
    const remembered = new Map();
    /** @type {((snapshot: number) => Float32Array[]) | null} */
    let weightsAt = null;
    /** @type {Net | null} */
    let net = null;
    /** @param {number | null} snapshot */
    const weights = (snapshot) => {
      if (snapshot === null || !weightsAt) return now;
      const found = remembered.get(snapshot) || weightsAt(snapshot);
      remembered.set(snapshot, found);
      return found;
    };
    return {
      weights,
      /** What every snapshot answers, now last. @param {Question} question */
      answers({ pixels, off }) {
        const own = net,
          count = snapshots ? snapshots.count : 0,
          input = scaled(pixels);
        if (!own) return null;
        return Array.from({ length: count + 1 }, (_, snapshot) => {
          own.weights = weights(snapshot < count ? snapshot : null);
          own.run(input, off);
          return best(P.probabilities(own, temperature));
        });
      },
      async load() {
        if (!snapshots) return;
        weightsAt = await unpackSnapshots(snapshots, program.tensors);
        net = P.create(program, now);
      },
    };
  }

  /** @param {Net} net @param {Layer | null} layer @param {PadData} data */
  function warm(net, layer, { classes }) {
    const gray = new Float32Array(size(net.program.shape)).fill(0.3);
    const begun = performance.now();
    for (let turn = 0; turn < WARMING && performance.now() - begun < WARMED; turn++) {
      net.run(gray);
      P.evidence(net, layer, new Float32Array(classes.length).fill(1));
    }
  }

  /** What is shown before anything was answered. @param {number} classes @param {Layer | null} layer @returns {Answer} */
  function blank(classes, layer) {
    const evidence = layer && { layer, cells: new Float32Array(1), height: 1, width: 1, sum: 0 };
    const probabilities = new Float64Array(classes).fill(1 / classes);
    return { scores: new Float32Array(classes), probabilities, first: 0, second: 1, evidence, milliseconds: null, novelty: null };
  }

  /** The answer of the last run. @param {Net} net @param {Float64Array} probabilities @param {Layer | null} layer
   * @param {Map<number, Set<number>>} off @param {boolean} contrast @returns {Answer} */
  function answerOf(net, probabilities, layer, off, contrast) {
    const first = argmax(probabilities),
      second = argmax(probabilities, first);
    const seed = new Float32Array(probabilities.length);
    seed[first] = 1;
    if (contrast) seed[second] = -1;
    const scores = net.values[net.last],
      evidence = P.evidence(net, layer, seed, off);
    return { scores, probabilities, first, second, evidence, milliseconds: null, novelty: null };
  }

  /** @param {Float64Array} probabilities @returns {PastAnswer} */
  function best(probabilities) {
    const prediction = argmax(probabilities);
    return { prediction, confidence: probabilities[prediction] };
  }

  /** Runs the pictures of the check once more. @param {PadData} data @param {Net} net @returns {CheckResult} */
  function check({ check: known }, net) {
    const bytes = bytesOf(known.pictures),
      each = size(net.program.shape);
    let difference = 0,
      wrong = 0;
    known.scores.forEach((scores, at) => {
      const found = net.run(scaled(bytes.subarray(at * each, (at + 1) * each)));
      scores.forEach((score, label) => {
        difference = Math.max(difference, Math.abs(score - found[label]));
      });
      if (argmax(found) !== argmax(scores)) wrong += 1;
    });
    return { difference, wrong, good: !wrong && difference <= known.tolerance };
  }

  /** @param {PadData} data @returns {Promise<Pool | null>} */
  async function poolOf({ pool, program }) {
    if (!pool) return null;
    const bytes = await inflate(pool.pictures),
      each = size(program.shape);
    return { count: pool.count, at: (index) => bytes.subarray(index * each, (index + 1) * each) };
  }

  /** @param {PadData} data @param {string} name @param {number} channel @param {number} count
   * @returns {ChannelFacts | null} */
  function factsOf(data, name, channel, count) {
    const own = data.channels[name],
      table = own && own.same_as ? data.channels[own.same_as] : own;
    if (!table || !table.top || !table.low || !table.excited) return null;
    return {
      top: table.top[channel],
      low: table.low[channel],
      random: Array.from({ length: RANDOM }, (_, at) => (channel * CHANNEL + at * PICTURE + OFFSET) % count),
      count,
      excited: table.excited[channel],
      sample_size: data.check.sample_size,
      accuracy_change: table.accuracy_change && table.accuracy_change[channel],
      beyond_chance: table.beyond_chance && table.beyond_chance[channel],
      tested_channels: data.tested_channels,
      ablation_pictures: data.ablation_pictures,
    };
  }

  /** @param {PadData} data @param {Pool} pool @param {number} index @returns {TestPicture} */
  function pictureOf(data, pool, index) {
    const { labels, sources } = /** @type {PoolData} */ (data.pool),
      pixels = pool.at(index);
    const shape = data.program.shape;
    return { pixels, shape, label: labels[index], source: sources[index], whole: async () => pixels };
  }

  return { best, blank, create };
})();
