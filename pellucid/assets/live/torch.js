"use strict";
// The answerer over HTTP: a network that torch runs on this machine. A stroke asks once; while an answer is on its
// way, only the newest drawing waits.
const PellucidTorch = (() => {
  const { size, softmax } = PellucidOperations;
  const { argmax } = PellucidImages;
  const { now: NOW } = PellucidConstants.live; // the snapshot that is not past
  const AGAIN = 40; // milliseconds until what another page's question displaced is asked again

  /** @param {PadData} data @param {TorchData} torch @returns {Layer[]} */
  const layersOf = (data, { layers }) =>
    layers.map(({ name, shape, shown_shape: shown, receptive_field: field }, value) => ({
      name, value, first: value, kinds: [], shape: shown, whole: shape, field,
    }));

  /**
   * @param {number} run  its place among the runs served
   * @param {PadData} data
   * @param {TorchData} torch  what the server says of its network
   * @returns {Answerer & {fresh: Set<number>}}  fresh: the layers whose values are those of the last answer
   */
  function create(run, data, torch) {
    const layers = layersOf(data, torch),
      [, height, width] = data.program.shape;
    const evidenceLayer = torch.evidence === null ? null : layers[torch.evidence];
    /** @type {(Float32Array | undefined)[]} */
    const values = layers.map(({ shape }) => new Float32Array(size(shape)));
    /** @type {{cell: string, trace: Trace} | null} */
    let traced = null;
    const open = /** @type {Set<number>} */ (new Set());
    const tables = tablesOf(run),
      answers = newestOnly((/** @type {Question} */ question) => post("answer", encoded(run, [...open], question)));
    /** @type {ReturnType<typeof create>} */
    const answerer = {
      layers,
      evidenceLayer,
      open,
      fresh: new Set(),
      last: PellucidEngine.blank(data.classes.length, evidenceLayer),
      ask(question, done) {
        const taken = (/** @type {ArrayBuffer} */ content) => {
          const found = decoded(content, layers, evidenceLayer, question.chosen, data.temperature);
          found.values.forEach((numbers, layer) => {
            values[layer] = numbers;
          });
          answerer.fresh = new Set(found.values.keys());
          answerer.last = { ...found.answer, evidence: found.answer.evidence || answerer.last.evidence };
          if (found.trace && question.chosen) traced = { cell: cellKey(question.chosen), trace: found.trace };
          done(null);
        };
        answers(question, taken, done);
      },
      values: ({ value }) => values[value],
      field({ field }, row, column) {
        if (field === "whole") return [0, 0, height - 1, width - 1];
        if (!field) return null;
        const [[top, bottom], [left, right]] = [field[0][row], field[1][column]];
        return [top, left, bottom, right];
      },
      trace: (cell) => (traced && traced.cell === cellKey(cell) ? traced.trace : null),
      past: pastOf(run, data.temperature),
      channel: tables.channel,
      picture: tables.picture,
      async scales() {
        const { head } = opened(await keepAsking("scales", Uint8Array.of(run)));
        return Object.fromEntries(layers.map(({ name, value }) => [name, head.scales[value]]));
      },
      copy: () => null,
      load: () => {},
    };
    return answerer;
  }

  /** @param {Cell} cell */
  const cellKey = ({ layer, channel, row, column }) => [layer.value, channel, row, column].join();

  /**
   * Asks one question at a time; of those that wait, only the newest.
   * @template Q, R
   * @param {(question: Q) => Promise<R | null>} send  null: displaced by what another page asked
   * @returns {(question: Q, done: (result: R) => void, failed: (error: Error) => void) => void}
   */
  function newestOnly(send) {
    /** @type {{question: Q, done: (result: R) => void, failed: (error: Error) => void} | null} */
    let wanted = null;
    let flying = false;
    const fly = async () => {
      flying = true;
      while (wanted) {
        const mine = wanted;
        wanted = null;
        try {
          const result = await send(mine.question);
          if (result) mine.done(result);
          else if (!wanted) {
            await later();
            wanted = wanted || mine;
          }
        } catch (error) {
          mine.failed(/** @type {Error} */ (error));
        }
      }
      flying = false;
    };
    return (question, done, failed) => {
      wanted = { question, done, failed };
      if (!flying) fly();
    };
  }

  /** What each snapshot answers; the answer before, while the drawing is the same. @param {number} run
   * @param {number} temperature @returns {Answerer["past"]} */
  function pastOf(run, temperature) {
    /** @type {{body: ReturnType<typeof encoded>, answers: PastAnswer[]} | null} */
    let before = null;
    const past = newestOnly(async (/** @type {ReturnType<typeof encoded>} */ body) => {
      if (before && before.body.length === body.length && before.body.every((byte, at) => byte === body[at])) {
        return before.answers;
      }
      const content = await post("past", body);
      if (!content) return null;
      const { head, rest } = opened(content),
        [snapshots, classes] = head.scores;
      const scores = new Float32Array(content, rest, snapshots * classes);
      const answers = Array.from({ length: snapshots }, (_, snapshot) => {
        const own = scores.subarray(snapshot * classes, (snapshot + 1) * classes);
        return PellucidEngine.best(softmax(own, temperature));
      });
      before = { body, answers };
      return answers;
    });
    return ({ pixels, off }, done, failed) => {
      past(encoded(run, [], { pixels, off, snapshot: null, contrast: false, chosen: null }), done, failed);
    };
  }

  /** What test pictures tell of channels, asked for when a channel is chosen. @param {number} run
   * @returns {Pick<Answerer, "channel" | "picture">} */
  function tablesOf(run) {
    /** @type {Map<string, ChannelFacts>} */
    const known = new Map();
    /** @type {Map<number, TestPicture>} */
    const pictures = new Map();
    let newest = "";

    /** @param {string} key @param {Layer} layer @param {number} channel */
    async function count(key, layer, channel) {
      const body = new DataView(new ArrayBuffer(5));
      body.setUint8(0, run);
      body.setUint16(1, layer.value, true);
      body.setUint16(3, channel, true);
      const content = await askWhile("channel", body.buffer, () => newest === key);
      if (!content) return null; // another channel was chosen meanwhile
      const { head, rest } = opened(content);
      (head.places || []).forEach((/** @type {number} */ index, /** @type {number} */ at) => {
        const [, ...shape] = head.shape,
          each = size(shape);
        const pixels = new Uint8Array(content, rest + at * each, each);
        const whole = () => wholePicture(run, index);
        pictures.set(index, { pixels, shape, label: head.labels[at], source: head.sources[at], whole });
      });
      return { ...head, count: head.sample_size };
    }

    return {
      channel(layer, channel, changed) {
        const key = [layer.value, channel].join(),
          before = known.get(key);
        newest = key;
        if (before) return before;
        const waiting = { waiting: true };
        known.set(key, waiting);
        count(key, layer, channel).then(
          (facts) => {
            if (facts) known.set(key, facts);
            else known.delete(key);
            if (facts) changed();
          },
          (error) => {
            known.set(key, { failed: error.message });
            changed();
            known.delete(key);
          },
        );
        return waiting;
      },
      picture: (index) => /** @type {TestPicture} */ (pictures.get(index)),
    };
  }

  /** A test picture as the network receives it. @param {number} run @param {number} index */
  async function wholePicture(run, index) {
    const body = new DataView(new ArrayBuffer(3));
    body.setUint8(0, run);
    body.setUint16(1, index, true);
    return new Uint8Array(await keepAsking("test", body.buffer));
  }

  // --- bytes: the layout is written down in live/answers.py

  /** @param {number} run @param {number[]} open @param {Question} question */
  function encoded(run, open, { pixels, off, contrast, snapshot, chosen }) {
    const silenced = [...off].flatMap(([layer, channels]) => [...channels].map((channel) => [layer, channel]));
    const cell = chosen ? [chosen.layer.value, chosen.channel, chosen.row, chosen.column] : [];
    const numbers = [...open, ...silenced.flat(), ...cell],
      start = 8 + 2 * numbers.length;
    const body = new Uint8Array(start + pixels.length),
      view = new DataView(body.buffer);
    [run, Number(contrast), snapshot === null ? NOW : snapshot, Number(chosen !== null)].forEach((byte, at) =>
      view.setUint8(at, byte),
    );
    view.setUint16(4, open.length, true);
    view.setUint16(6, silenced.length, true);
    numbers.forEach((number, at) => view.setUint16(8 + 2 * at, number, true));
    body.set(pixels, start);
    return body;
  }

  /**
   * @param {ArrayBuffer} content @param {Layer[]} layers @param {Layer | null} evidenceLayer @param {Cell | null} chosen
   * @param {number} temperature
   * @returns {{answer: Answer, values: Map<number, Float32Array>, trace: Trace | null}}
   */
  function decoded(content, layers, evidenceLayer, chosen, temperature) {
    const { head, rest } = opened(content);
    let at = rest;
    /** @param {number} count */
    const part = (count) => {
      const numbers = new Float32Array(content, at, count);
      at += 4 * count;
      return numbers;
    };
    const scores = part(head.classes),
      probabilities = softmax(scores, temperature);
    /** @type {Evidence | null} */
    let evidence = null;
    if (head.evidence && evidenceLayer) {
      const [height, width] = head.evidence,
        cells = part(height * width);
      evidence = { layer: evidenceLayer, cells, height, width, sum: cells.reduce((sum, cell) => sum + cell, 0) };
    }
    const values = new Map();
    for (const [layer, ...shape] of head.layers) values.set(layer, part(size(shape)));
    const trace = head.working && chosen ? traceOf(head.working, layers, part) : null;
    const first = argmax(scores),
      second = argmax(scores, first);
    return { answer: { scores, probabilities, first, second, evidence, milliseconds: head.milliseconds, novelty: head.novelty }, values, trace };
  }

  /** How a cell came about. @param {any} head @param {Layer[]} layers @param {(count: number) => Float32Array} part
   * @returns {Trace} */
  function traceOf(head, layers, part) {
    const [, row, column] = head.cell,
      { kind, received, value, after, first, bias } = head;
    const inside = head.inside.map((/** @type {number} */ layer) => layers[layer]);
    const found = { kind, received, row, column, value, after, inside };
    const weights = head.kernel && part(size(head.kernel)),
      patch = head.patch && part(size(head.patch));
    if (!weights) return { ...found, pooled: head.total, parts: patch ? Array.from(patch) : [] };
    const kernel = head.kernel.length === 3 ? head.kernel.slice(1) : null;
    return PellucidTrace.summed(found, { kernel, weights, patch, first, bias });
  }

  /** The head of an answer, and where what follows it begins. @param {ArrayBuffer} content */
  function opened(content) {
    const length = new DataView(content).getUint32(0, true);
    return { head: JSON.parse(new TextDecoder().decode(new Uint8Array(content, 4, length))), rest: 4 + length };
  }

  const later = () => new Promise((done) => setTimeout(done, AGAIN));

  /** Asked again while another page's question displaces it and `wished` says so; null where it no longer does.
   * @param {string} path @param {BodyInit} body @param {() => boolean} wished */
  async function askWhile(path, body, wished) {
    for (;;) {
      const content = await post(path, body);
      if (content || !wished()) return content;
      await later();
      if (!wished()) return null;
    }
  }

  /** @param {string} path @param {BodyInit} body */
  const keepAsking = async (path, body) => /** @type {ArrayBuffer} */ (await askWhile(path, body, () => true));

  /** The bytes of the answer; null when a newer question came in between.
   * @param {string} path @param {BodyInit} body */
  async function post(path, body, kind = "application/octet-stream") {
    const answer = await fetch(path, { method: "POST", body, headers: { "content-type": kind } });
    if (answer.status === 409) return null;
    if (!answer.ok) {
      const refusal = await answer.json().catch(() => null);
      throw new Error(refusal ? refusal.error.message : String(answer.status));
    }
    return answer.arrayBuffer();
  }

  return { create, post };
})();
