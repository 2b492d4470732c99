"use strict";
// A network that torch runs on this machine, with the face of one run in the page: its layers, its values, its
// evidence. A stroke asks once; while an answer is on its way, only the newest drawing waits.
const PellucidTorch = (() => {
  const { argmax } = PellucidParts;

  // create(run, told, classes): run is its place among the runs served, told what the server says of it.
  function create(run, told, classes) {
    const layers = told.layers.map(({ name, shape, shown }, place) => ({
      name,
      value: place,
      shape: shown,
      whole: shape,
      kinds: [],
    }));
    const last = layers.length;
    const size = (shape) => shape.reduce((product, side) => product * side, 1);
    const net = {
      remote: true,
      program: { output: "logits", operations: [] },
      layers,
      last,
      values: [...layers.map((layer) => new Float32Array(size(layer.shape))), new Float32Array(classes)],
      evidenceAt: told.evidence === null ? null : layers[told.evidence],
      open: new Set(),
      fresh: new Set(), // layers whose values are those of the last answer
      evidence: null,
      milliseconds: null,
    };
    let wanted = null,
      flying = false;

    // ask({pixels, contrast, off}, done): done(null), or done(error), unless a newer drawing came meanwhile.
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
          const content = await post("answer", asked(run, net, question), "application/octet-stream");
          if (content) take(net, content);
          else if (!wanted) {
            // another page asked for the same run: ask again
            await new Promise((later) => setTimeout(later, 40));
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

  function asked(run, net, { pixels, contrast, off }) {
    const opened = [...net.open],
      silenced = [...off].flatMap(([layer, channels]) => [...channels].map((channel) => [layer, channel]));
    const start = 6 + 2 * opened.length + 4 * silenced.length;
    const body = new Uint8Array(start + pixels.length),
      view = new DataView(body.buffer);
    view.setUint8(0, run);
    view.setUint8(1, contrast ? 1 : 0);
    view.setUint16(2, opened.length, true);
    view.setUint16(4, silenced.length, true);
    [...opened, ...silenced.flat()].forEach((number, place) => view.setUint16(6 + 2 * place, number, true));
    body.set(pixels, start);
    return body;
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

  function take(net, content) {
    const length = new DataView(content).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(content, 4, length)));
    let at = 4 + length;
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
    net.milliseconds = head.milliseconds;
    net.first = argmax(net.values[net.last]);
  }

  return { create, post };
})();
