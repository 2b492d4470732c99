"use strict";
// A network that torch runs on this machine, with the face of one run in the page: its layers, its values, its
// evidence, how a cell came about, what test pictures say of a channel. A stroke asks once; while an answer is on
// its way, only the newest drawing waits.
const PellucidTorch = (() => {
  const { size, softmax, summed } = PellucidNetwork;
  const { argmax } = PellucidParts;
  const NOW = 255; // the snapshot that is not past
  const AGAIN = 40; // milliseconds until what another page's question displaced is asked again

  // create(run, told, data): run is its place among the runs served, told what the server says of it.
  function create(run, told, data) {
    const layers = told.layers.map(({ name, shape, shown, field }, place) => ({
      name,
      value: place,
      shape: shown,
      whole: shape,
      field,
      kinds: [],
    }));
    const last = layers.length;
    const [, height, width] = data.program.shape;
    const net = {
      program: { output: "logits", operations: [] },
      layers,
      last,
      values: [...layers.map((layer) => new Float32Array(size(layer.shape))), new Float32Array(data.classes.length)],
      evidenceAt: told.evidence === null ? null : layers[told.evidence],
      open: new Set(),
      fresh: new Set(), // layers whose values are those of the last answer
      evidence: null,
      milliseconds: null,
      taken: null, // how the cell last asked for came about
      tables: tablesOf(run, layers),
    };

    // The pixels [top, left, bottom, right] that a cell sees; null where that cannot be told.
    net.field = ({ field }, row, column) => {
      if (field === "whole") return [0, 0, height - 1, width - 1];
      if (!field) return null;
      const [[top, bottom], [left, right]] = [field[0][row], field[1][column]];
      return [top, left, bottom, right];
    };

    // How a cell came about, as network.js `sums` tells it; null until it has been answered.
    net.working = ({ layer, channel, row, column }) => {
      const key = [layer.value, channel, row, column].join();
      return net.taken && net.taken.key === key ? net.taken.found : null;
    };

    // past({pixels, off}): what each snapshot says, {label, share}; the answer before, while the drawing is the same.
    let before = null;
    net.past = async ({ pixels, off }) => {
      const body = asked(run, [], { pixels, off });
      if (before && before.body.length === body.length && before.body.every((one, at) => one === body[at])) {
        return before.answers;
      }
      const content = await asking("past", body);
      const { head, rest } = opened(content),
        [snapshots, classes] = head.scores;
      const scores = new Float32Array(content, rest, snapshots * classes);
      const answers = Array.from({ length: snapshots }, (_, snapshot) =>
        PellucidLive.best(softmax(scores.subarray(snapshot * classes, (snapshot + 1) * classes))),
      );
      before = { body, answers };
      return answers;
    };

    // Between which values each layer lies on test pictures, by its name.
    net.scales = async () => {
      const { head } = opened(await asking("scales", Uint8Array.of(run)));
      return Object.fromEntries(layers.map(({ name, value }) => [name, head.scales[value]]));
    };

    let wanted = null,
      flying = false;

    // ask({pixels, contrast, off, snapshot, chosen}, done): done(null), or done(error), unless a newer drawing came meanwhile.
    net.ask = (question, done) => {
      wanted = { question, done };
      if (!flying) fly();
    };

    async function fly() {
      flying = true;
      while (wanted) {
        const { question, done } = wanted;
        const mine = wanted;
        wanted = null;
        try {
          const content = await post("answer", asked(run, [...net.open], question), "application/octet-stream");
          if (content) take(net, content, question.chosen);
          else if (!wanted) {
            // another page asked for the same run: ask again
            await new Promise((later) => setTimeout(later, AGAIN));
            wanted = wanted || mine;
            continue;
          }
          if (content) done(null);
        } catch (error) {
          done(error);
        }
      }
      flying = false;
    }
    return net;
  }

  // What test pictures say of channels, asked for when a channel is chosen; with the face of layers.js `carried`.
  function tablesOf(run, layers) {
    const known = new Map(), // "layer,channel" -> facts
      pictures = new Map(); // number -> how it is shown
    let newest = null;
    const fetched = async (place) => {
      const body = new DataView(new ArrayBuffer(3));
      body.setUint8(0, run);
      body.setUint16(1, place, true);
      return new Uint8Array(await asking("test", body.buffer));
    };

    async function count(key, layer, channel) {
      const body = new DataView(new ArrayBuffer(5));
      body.setUint8(0, run);
      body.setUint16(1, layer.value, true);
      body.setUint16(3, channel, true);
      const content = await asking("channel", body.buffer, () => newest === key);
      if (!content) return null; // another channel was chosen meanwhile
      const { head, rest } = opened(content);
      (head.places || []).forEach((place, at) => {
        const [, ...shape] = head.shape,
          each = size(shape);
        const pixels = new Uint8Array(content, rest + at * each, each);
        const shown = { pixels, shape, label: head.labels[at], source: head.sources[at], whole: () => fetched(place) };
        pictures.set(place, shown);
      });
      return { ...head, count: head.looked };
    }

    return {
      of(layer, channel, changed) {
        const key = [layer.value, channel].join();
        newest = key;
        if (known.has(key)) return known.get(key);
        known.set(key, { waiting: true });
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
        return known.get(key);
      },
      picture: (place) => pictures.get(place),
    };
  }

  function asked(run, open, { pixels, off, contrast = false, snapshot = null, chosen = null }) {
    const silenced = [...off].flatMap(([layer, channels]) => [...channels].map((channel) => [layer, channel]));
    const cell = chosen ? [chosen.layer.value, chosen.channel, chosen.row, chosen.column] : [];
    const numbers = [...open, ...silenced.flat(), ...cell],
      start = 8 + 2 * numbers.length;
    const body = new Uint8Array(start + pixels.length),
      view = new DataView(body.buffer);
    [run, contrast ? 1 : 0, snapshot === null ? NOW : snapshot, chosen ? 1 : 0].forEach((one, at) => view.setUint8(at, one));
    view.setUint16(4, open.length, true);
    view.setUint16(6, silenced.length, true);
    numbers.forEach((number, place) => view.setUint16(8 + 2 * place, number, true));
    body.set(pixels, start);
    return body;
  }

  // The bytes of an answer, asked again while another page's question displaces it and `wished` says so.
  async function asking(path, body, wished = () => true) {
    for (;;) {
      const content = await post(path, body, "application/octet-stream");
      if (content || !wished()) return content;
      await new Promise((later) => setTimeout(later, AGAIN));
      if (!wished()) return null;
    }
  }

  // The head of an answer, and where what follows it begins.
  function opened(content) {
    const length = new DataView(content).getUint32(0, true);
    return { head: JSON.parse(new TextDecoder().decode(new Uint8Array(content, 4, length))), rest: 4 + length };
  }

  // The bytes of the answer; null when a newer question came in between.
  async function post(path, body, kind) {
    const answer = await fetch(path, { method: "POST", body, headers: { "content-type": kind } });
    if (answer.status === 409) return null;
    if (!answer.ok) {
      const told = await answer.json().catch(() => null);
      throw new Error(told ? told.error.message : String(answer.status));
    }
    return answer.arrayBuffer();
  }

  function take(net, content, chosen) {
    const { head, rest } = opened(content);
    let at = rest;
    const part = (count) => {
      const values = new Float32Array(content, at, count);
      at += 4 * count;
      return values;
    };
    net.values[net.last] = part(head.classes);
    net.evidence = null;
    if (head.evidence) {
      const [height, width] = head.evidence,
        cells = part(height * width);
      net.evidence = { layer: net.evidenceAt, cells, height, width, sum: cells.reduce((sum, cell) => sum + cell, 0) };
    }
    net.fresh.clear();
    for (const [place, ...shape] of head.layers) {
      net.values[place] = part(shape.reduce((product, side) => product * side, 1));
      net.fresh.add(place);
    }
    if (head.working) {
      const { layer, channel, row, column } = chosen,
        found = workingOf(net, head.working, part);
      net.taken = { key: [layer.value, channel, row, column].join(), found };
    }
    net.milliseconds = head.milliseconds;
    net.first = argmax(net.values[net.last]);
  }

  // How a cell came about, in the form of network.js `sums`.
  function workingOf(net, told, part) {
    const [, row, column] = told.cell,
      { kind, received, value, after, first, bias } = told;
    const found = { kind, received, row, column, value, after, inside: told.inside.map((place) => net.layers[place]) };
    const kernel = told.kernel && part(size(told.kernel)),
      patch = told.patch && part(size(told.patch));
    if (kernel) {
      const window = told.kernel.length === 3 ? told.kernel.slice(1) : null;
      return summed(found, { kernel: window, weights: kernel, patch, first, bias });
    }
    return { ...found, pooled: told.total, parts: patch ? Array.from(patch) : [] };
  }

  return { create, post };
})();
