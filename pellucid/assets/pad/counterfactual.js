"use strict";
// What would change the answer: explanation/counterfactual.py in the page. A few dabs of pen, rubber or cover
// that turn it into another, found by gradient, judged by running the network, confirmed by running it once more,
// applied with one click.
const PellucidCounterfactual = (() => {
  const { argmax, imageOf, scaled } = PellucidImages;
  const { button, contextOf, heading, make, quiet } = PellucidParts;
  const LIMITS = PellucidConstants.counterfactual;
  const TOUCHED = { lighter: [239, 138, 60], darker: [90, 165, 230] };

  /** @typedef {{round: boolean, radius: number, goals: Uint8Array[]}} Tool  goals: what a full dab leaves */
  /** @typedef {{kind: number, row: number, column: number}} Dab  kind: which goal */
  /** @typedef {{target: number, amount: number, dabs: Dab[], pixels: Uint8Array}} Counterfactual */
  /**
   * @typedef {object} Search
   * @property {Net} net
   * @property {number[]} shape
   * @property {Map<number, Set<number>>} off
   * @property {Uint8Array} start  the picture that is changed
   */

  /** The part of the answer's room that looks for changes when it is asked to; none where the network is not in
   * the page. @param {Page} page @param {Run} run */
  function block(page, run) {
    if (!run.answerer.copy()) return [];
    const { say } = page,
      found = make("ol", { class: "live-ways" }),
      note = quiet("", { role: "status" });
    /** @type {Map<number, Counterfactual | null>} */
    const known = new Map();
    /** @type {Uint8Array | null} */
    let shown = null;
    let turn = 0;

    /** @param {number} count  of the likeliest other classes */
    async function look(count) {
      const mine = (turn += 1);
      const net = /** @type {Net} */ (run.answerer.copy()),
        start = Uint8Array.from(run.pixels),
        answer = run.answerer.last.first;
      shown = start;
      /** @type {Search} */
      const search = { net, shape: run.shape, off: run.choices.off, start };
      const order = othersOf(run.answerer.last);
      let wanted = order.slice(0, count);
      for (let at = 0; at < wanted.length; at++) {
        const target = wanted[at];
        if (!known.has(target)) {
          note.textContent = say("change.looking", { name: run.data.classes[target] });
          const result = await smallest(search, target, () => mine === turn);
          if (mine !== turn) return;
          known.set(target, result);
          found.replaceChildren(...sorted(known).map((each) => item(page, run, { start, answer, result: each })));
        }
        if (at === wanted.length - 1 && !sorted(known).length) wanted = order;
      }
      note.textContent = outcome(say, run, answer, sorted(known)[0]);
    }

    run.view.refreshers.push(() => {
      if (shown && same(shown, run.pixels)) return;
      turn += 1; // what is being looked for belongs to another picture
      shown = null;
      known.clear();
      found.replaceChildren();
      note.textContent = "";
    });
    const few = button(say("change.find"), () => look(LIMITS.likely)),
      every = button(say("change.every"), () => look(Infinity));
    const parts = [make("p", { class: "live-tools" }, few, every), note, found, quiet(say("change.how"))];
    return [make("div", { class: "live-block live-asked" }, heading(run.view.heads, say("change")), ...parts)];
  }

  /** The other classes, likeliest first. @param {Answer} answer */
  function othersOf({ probabilities, first }) {
    const others = Array.from(probabilities, (_, label) => label).filter((label) => label !== first);
    return others.sort((a, b) => probabilities[b] - probabilities[a]);
  }

  /** Those found, smallest first. @param {Map<number, Counterfactual | null>} known */
  function sorted(known) {
    const found = [...known.values()].flatMap((each) => (each ? [each] : []));
    return found.sort((a, b) => a.amount - b.amount);
  }

  /** @param {Say} say @param {Run} run @param {number} answer @param {Counterfactual | undefined} least */
  function outcome(say, { data: { classes } }, answer, least) {
    if (!least) return say("change.none");
    const { target, dabs, amount } = least;
    const numbers = { dabs: dabs.length, amount: amount.toFixed(1) };
    return say("change.found", { from: classes[answer], to: classes[target], ...numbers });
  }

  /** One change found; pressed, it is applied. @param {Page} page @param {Run} run
   * @param {{start: Uint8Array, answer: number, result: Counterfactual}} change */
  function item(page, run, { start, answer, result: { target, amount, pixels } }) {
    const { classes } = run.data,
      { drawing } = page;
    const says = page.say("change.apply", { name: classes[target], amount: amount.toFixed(1) });
    const apply = () =>
      PellucidPad.act(page, () => {
        drawing.picture = PellucidPictures.pictureFrom(page.runs, run, pixels);
        drawing.strokes = [];
        drawing.example = null;
        if (drawing.label === null) drawing.label = classes[answer]; // what it showed before
      });
    const press = make("button", { type: "button", title: says, "aria-label": says, onclick: apply });
    press.append(
      traces(run.shape, start, pixels),
      make("b", {}, classes[target]),
      make("span", { class: "live-quiet" }, amount.toFixed(1)),
    );
    return make("li", {}, press);
  }

  // --- the search

  /** The smallest of the changes tried to class `target`; null where there is none, or `wanted` no longer holds.
   * @param {Search} search @param {number} target @param {() => boolean} wanted
   * @returns {Promise<Counterfactual | null>} */
  async function smallest(search, target, wanted) {
    const { start, shape } = search;
    /** @type {Counterfactual | null} */
    let best = null;
    for (const tool of toolsOf(shape, start)) {
      let pixels = start;
      /** @type {Dab[]} */
      const dabs = [];
      while (dabs.length < (tool.round ? LIMITS.max_edits : LIMITS.max_covers)) {
        if (best && dabs.length && changeOf(pixels, start, shape) >= best.amount) break;
        await new Promise((done) => setTimeout(done)); // the page stays awake
        if (!wanted()) return null;
        const next = bestDab(search, pixels, target, tool);
        if (!next) break;
        pixels = next.pixels;
        dabs.push(next.dab);
        if (next.lead > 0) {
          const way = spared(search, target, tool, { dabs, pixels }),
            amount = changeOf(way.pixels, start, shape);
          const confirmed = argmax(scoresOf(search, way.pixels)) === target;
          if (confirmed && (!best || amount < best.amount)) best = { target, amount, ...way };
          break;
        }
      }
    }
    return best;
  }

  /** Pen and rubber for small gray pictures; covers for others. @param {number[]} shape @param {Uint8Array} start
   * @returns {Tool[]} */
  function toolsOf(shape, start) {
    const [channels, height, width] = shape,
      side = Math.max(height, width);
    if (channels === 1 && side <= LIMITS.pen_side) {
      const paper = paperOf(start, height, width);
      const goals = [start.map(() => (paper < 128 ? 255 : 0)), start.map(() => paper)];
      const larger = Math.max(1, side / LIMITS.pen_reference);
      return LIMITS.radii.map((radius) => ({ round: true, radius: radius * larger, goals }));
    }
    const goals = [blurred(start, shape)];
    return LIMITS.covers.map((part) => ({ round: false, radius: Math.floor(side / part) / 2, goals }));
  }

  /** The median of the border. @param {Uint8Array} pixels @param {number} height @param {number} width */
  function paperOf(pixels, height, width) {
    const border = [];
    for (let x = 0; x < width; x++) border.push(pixels[x], pixels[(height - 1) * width + x]);
    for (let y = 0; y < height; y++) border.push(pixels[y * width], pixels[y * width + width - 1]);
    return border.sort((a, b) => a - b)[Math.floor((border.length - 1) / 2)];
  }

  /** The picture without its detail. @param {Uint8Array} pixels @param {number[]} shape */
  function blurred(pixels, [channels, height, width]) {
    const cells = LIMITS.cover_cells,
      out = new Uint8Array(pixels.length);
    for (let cell = 0; cell < channels * cells * cells; cell++) {
      const band = Math.floor(cell / (cells * cells)),
        row = Math.floor(cell / cells) % cells,
        column = cell % cells;
      const [top, bottom] = [row, row + 1].map((edge) => Math.floor((edge * height) / cells));
      const [left, right] = [column, column + 1].map((edge) => Math.floor((edge * width) / cells));
      /** @param {number} y */
      const line = (y) => band * height * width + y * width;
      let sum = 0;
      for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) sum += pixels[line(y) + x];
      const mean = Math.round(sum / Math.max(1, (bottom - top) * (right - left)));
      for (let y = top; y < bottom; y++) out.fill(mean, line(y) + left, line(y) + right);
    }
    return out;
  }

  /** @param {Search} search @param {Uint8Array} pixels */
  function scoresOf({ net, off }, pixels) {
    net.run(scaled(pixels), off);
    return net.values[net.last];
  }

  /** The score of `target` less the largest other one. @param {Float32Array} scores @param {number} target */
  const leadOf = (scores, target) => scores[target] - scores[argmax(scores, target)];

  /** Of the dabs that the gradient of the target's lead proposes, the least change among those that reach the
   * target when run, else the one that comes nearest to it.
   * @param {Search} search @param {Uint8Array} pixels @param {number} target @param {Tool} tool */
  function bestDab(search, pixels, target, tool) {
    const scores = scoresOf(search, pixels),
      seed = new Float32Array(scores.length);
    seed[target] = 1;
    seed[argmax(scores, target)] = -1;
    const proposals = proposalsOf(search, search.net.backward(seed, 0, search.off), pixels, tool);
    /** @type {{lead: number, amount: number, pixels: Uint8Array, dab: Dab} | null} */
    let best = null;
    for (const { dab } of proposals.slice(0, tool.round ? LIMITS.proposals : LIMITS.cover_proposals)) {
      const tried = painted(search.shape, pixels, tool, dab);
      const lead = leadOf(scoresOf(search, tried), target),
        amount = changeOf(tried, search.start, search.shape);
      const better = !best || (lead > 0 && best.lead > 0 ? amount < best.amount : lead > best.lead);
      if (better) best = { lead, amount, pixels: tried, dab };
    }
    return best;
  }

  /** Every place for a dab with what the gradient promises of it, the most first.
   * @param {Search} search @param {Float32Array} gradient @param {Uint8Array} pixels @param {Tool} tool */
  function proposalsOf({ shape: [channels, height, width] }, gradient, pixels, tool) {
    const plane = height * width,
      stamp = stampOf(tool);
    /** @type {{promise: number, dab: Dab}[]} */
    const proposals = [];
    tool.goals.forEach((goal, kind) => {
      const effect = new Float32Array(plane);
      for (let band = 0, at = 0; band < channels; band++) {
        for (let cell = 0; cell < plane; cell++, at++) effect[cell] += gradient[at] * (goal[at] - pixels[at]);
      }
      for (let cell = 0; cell < plane; cell++) {
        const y = Math.floor(cell / width),
          x = cell % width;
        let promise = 0;
        for (const [down, across, strength] of stamp) {
          const row = y + down,
            column = x + across;
          if (row >= 0 && row < height && column >= 0 && column < width) promise += strength * effect[row * width + column];
        }
        proposals.push({ promise, dab: { kind, row: y, column: x } });
      }
    });
    return proposals.sort((a, b) => b.promise - a.promise);
  }

  /** How strongly a tool acts around its centre: [down, across, strength] of every cell it reaches. @param {Tool} tool */
  function stampOf({ round, radius }) {
    const reach = Math.floor(radius + 0.5),
      stamp = [];
    for (let down = -reach; down <= reach; down++) {
      for (let across = -reach; across <= reach; across++) {
        const strength = round
          ? Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(down, across)))
          : Number(Math.max(Math.abs(down), Math.abs(across)) <= radius);
        if (strength > 0) stamp.push([down, across, strength]);
      }
    }
    return stamp;
  }

  /** @param {number[]} shape @param {Uint8Array} pixels @param {Tool} tool @param {Dab} dab */
  function painted([channels, height, width], pixels, tool, { kind, row, column }) {
    const out = Uint8Array.from(pixels),
      goal = tool.goals[kind];
    for (const [down, across, strength] of stampOf(tool)) {
      const [y, x] = [row + down, column + across];
      if (y < 0 || y >= height || x < 0 || x >= width) continue;
      for (let band = 0; band < channels; band++) {
        const at = (band * height + y) * width + x;
        out[at] = Math.round(out[at] + strength * (goal[at] - out[at]));
      }
    }
    return out;
  }

  /** Without every dab that is not needed.
   * @param {Search} search @param {number} target @param {Tool} tool @param {{dabs: Dab[], pixels: Uint8Array}} way */
  function spared(search, target, tool, way) {
    let { dabs, pixels } = way;
    for (const dab of way.dabs.slice(0, -1)) {
      const fewer = dabs.filter((other) => other !== dab);
      const tried = fewer.reduce((before, each) => painted(search.shape, before, tool, each), search.start);
      if (leadOf(scoresOf(search, tried), target) > 0) [dabs, pixels] = [fewer, tried];
    }
    return { dabs, pixels };
  }

  /** The change as a number of full pixels. @param {Uint8Array} after @param {Uint8Array} before @param {number[]} shape */
  function changeOf(after, before, [channels]) {
    return after.reduce((sum, value, at) => sum + Math.abs(value - before[at]), 0) / 255 / channels;
  }

  /** @param {Uint8Array} first @param {Uint8Array} second */
  function same(first, second) {
    return first.length === second.length && first.every((value, at) => value === second[at]);
  }

  /** The changed picture, its changes in colour. @param {number[]} shape @param {Uint8Array} before @param {Uint8Array} after */
  function traces(shape, before, after) {
    const [channels, height, width] = shape,
      plane = height * width;
    const canvas = make("canvas", { width, height, "aria-hidden": "true" }),
      image = imageOf(after, shape);
    for (let cell = 0; cell < plane; cell++) {
      let rise = 0;
      for (let band = 0; band < channels; band++) {
        rise += (after[band * plane + cell] - before[band * plane + cell]) / 255 / channels;
      }
      const share = Math.min(1, Math.abs(rise)),
        colour = TOUCHED[rise > 0 ? "lighter" : "darker"];
      for (let band = 0; band < 3; band++) {
        const at = cell * 4 + band;
        image.data[at] = image.data[at] * (1 - share) + colour[band] * share;
      }
    }
    contextOf(canvas).putImageData(image, 0, 0);
    return canvas;
  }

  return { block };
})();
