"use strict";
// What would change the answer: the smallest dab of pen, rubber or cover that turns it into another, found by
// gradient, judged by running the network, confirmed by running it once more, applied with one click.
const PellucidChange = (() => {
  const N = PellucidNetwork;
  const { argmax, gray, make, scaled } = PellucidParts;
  const PEN_SIDE = 64,
    MOST_DABS = 10,
    PROPOSALS = 8,
    LIKELY = 3;
  const TOUCHED = { lighter: [239, 138, 60], darker: [90, 165, 230] };

  // block(app): the part of the answer's room that looks for changes when it is asked to.
  function block(app) {
    const { say } = app;
    const found = make("ol", { class: "live-ways" }),
      note = make("p", { class: "live-quiet", role: "status" });
    const room = { app, found, note, asked: 0, known: new Map(), net: null, shown: null };
    const find = make("button", { type: "button", onclick: () => look(room, LIKELY) }, say("change.find"));
    const every = make("button", { type: "button", onclick: () => look(room, Infinity) }, say("change.every"));
    app.refreshers.push(() => {
      if (room.shown && same(room.shown, app.pixels)) return;
      room.asked += 1; // what is being looked for belongs to another picture
      room.shown = null;
      room.known.clear();
      found.replaceChildren();
      note.textContent = "";
    });
    app.change = { look: (count) => look(room, count), known: room.known };
    return make(
      "div",
      { class: "live-block live-asked" },
      make(app.heads[0], { class: "live-head" }, say("change")),
      make("p", { class: "live-tools" }, find, every),
      note,
      found,
      make("p", { class: "live-quiet" }, say("change.how")),
    );
  }

  async function look(room, count) {
    const { app } = room,
      { say } = app,
      { classes } = app.data;
    const turn = (room.asked += 1);
    const start = Uint8Array.from(app.pixels),
      answer = app.first;
    room.shown = start;
    room.net = room.net || N.create(app.data.program, app.weights);
    room.net.weights = app.net.weights;
    const order = classes.map((_, label) => label).filter((label) => label !== answer);
    order.sort((a, b) => app.shares[b] - app.shares[a]);
    let sought = order.slice(0, count);
    for (let place = 0; place < sought.length; place++) {
      const target = sought[place];
      if (!room.known.has(target)) {
        room.note.textContent = say("change.looking", { name: classes[target] });
        const way = await search(app, room.net, start, target, () => turn === room.asked);
        if (turn !== room.asked) return null;
        room.known.set(target, way);
        show(room, answer);
      }
      const none = [...room.known.values()].every((way) => !way);
      if (place === sought.length - 1 && none && sought.length < order.length) sought = order;
    }
    const least = [...room.known.values()].filter(Boolean).sort((a, b) => a.amount - b.amount)[0];
    room.note.textContent = least
      ? say("change.found", { from: classes[answer], to: classes[least.target], dabs: least.dabs.length, amount: least.amount.toFixed(1) })
      : say("change.none");
    return least || null;
  }

  function show(room, answer) {
    const { app } = room,
      { classes } = app.data;
    const ways = [...room.known.values()].filter(Boolean).sort((a, b) => a.amount - b.amount);
    room.found.replaceChildren(
      ...ways.map((way) => {
        const says = app.say("change.apply", { name: classes[way.target], amount: way.amount.toFixed(1) });
        const button = make("button", { type: "button", title: says, "aria-label": says }, traces(app, room.shown, way.pixels));
        button.append(make("b", {}, classes[way.target]), make("span", { class: "live-quiet" }, way.amount.toFixed(1)));
        button.addEventListener("click", () => apply(app, way, answer));
        return make("li", {}, button);
      }),
    );
  }

  function apply(app, way, answer) {
    app.act(() => {
      app.picture = way.pixels;
      app.strokes = [];
      app.example = null;
      if (app.meant === null) app.meant = answer; // what it showed before
    });
  }

  // The shortest way found from bytes `start` to class `target`, or null.
  async function search(app, net, start, target, wanted) {
    const tools = toolsOf(app, start);
    let best = null;
    for (const tool of tools) {
      let pixels = start;
      const dabs = [];
      while (dabs.length < MOST_DABS) {
        if (best && dabs.length && changeOf(pixels, start, app.shape) >= best.amount) break;
        await new Promise((done) => setTimeout(done)); // the page stays awake
        if (!wanted()) return null;
        const next = bestDab(app, net, pixels, target, tool);
        if (!next) break;
        pixels = next.pixels;
        dabs.push(next.dab);
        if (next.lead > 0) {
          const way = spared(app, net, start, target, tool, dabs, pixels);
          const amount = changeOf(way.pixels, start, app.shape);
          const confirmed = argmax(answered(app, net, way.pixels)) === target;
          if (confirmed && (!best || amount < best.amount)) best = { target, amount, ...way };
          break;
        }
      }
    }
    return best;
  }

  // Pen and rubber for small gray pictures; covers for others. goals: what a full dab leaves, 0..255 each.
  function toolsOf(app, start) {
    const [channels, height, width] = app.shape,
      side = Math.max(height, width);
    if (channels === 1 && side <= PEN_SIDE) {
      const paper = paperOf(start, height, width);
      const goals = [start.map(() => (paper < 128 ? 255 : 0)), start.map(() => paper)];
      return [1, 1.7, 2.7].map((radius) => ({ round: true, radius: radius * Math.max(1, side / 28), goals }));
    }
    const goals = [blurred(start, app.shape)];
    return [7, 5, 4].map((part) => ({ round: false, radius: Math.floor(side / part) / 2, goals }));
  }

  function paperOf(pixels, height, width) {
    const border = [];
    for (let x = 0; x < width; x++) border.push(pixels[x], pixels[(height - 1) * width + x]);
    for (let y = 0; y < height; y++) border.push(pixels[y * width], pixels[y * width + width - 1]);
    return border.sort((a, b) => a - b)[Math.floor((border.length - 1) / 2)];
  }

  function blurred(pixels, [channels, height, width]) {
    const cells = 4,
      out = new Uint8Array(pixels.length);
    for (let band = 0; band < channels; band++) {
      const at = (y, x) => band * height * width + y * width + x;
      for (let row = 0; row < cells; row++) {
        for (let column = 0; column < cells; column++) {
          const [top, bottom] = [row, row + 1].map((edge) => Math.floor((edge * height) / cells));
          const [left, right] = [column, column + 1].map((edge) => Math.floor((edge * width) / cells));
          let sum = 0;
          for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) sum += pixels[at(y, x)];
          const mean = Math.round(sum / Math.max(1, (bottom - top) * (right - left)));
          for (let y = top; y < bottom; y++) out.fill(mean, at(y, left), at(y, left) + right - left);
        }
      }
    }
    return out;
  }

  function answered(app, net, pixels) {
    net.run(scaled(pixels), app.off);
    return net.values[N.scoresOf(net)];
  }

  function leadOf(scores, target) {
    return scores[target] - scores[argmax(scores, target)];
  }

  // The best, when run, of the dabs that the gradient of the target's lead proposes.
  function bestDab(app, net, pixels, target, tool) {
    const [channels, height, width] = app.shape,
      plane = height * width;
    const scores = answered(app, net, pixels),
      seed = new Float32Array(scores.length);
    seed[target] = 1;
    seed[argmax(scores, target)] = -1;
    const gradient = net.backward(seed, 0, app.off);
    const stamp = stampOf(tool);
    const proposals = [];
    tool.goals.forEach((goal, kind) => {
      const effect = new Float32Array(plane);
      for (let band = 0, at = 0; band < channels; band++) {
        for (let cell = 0; cell < plane; cell++, at++) effect[cell] += gradient[at] * (goal[at] - pixels[at]);
      }
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          let promise = 0;
          for (const [down, across, strength] of stamp) {
            const [row, column] = [y + down, x + across];
            if (row >= 0 && row < height && column >= 0 && column < width) promise += strength * effect[row * width + column];
          }
          proposals.push([promise, kind, y, x]);
        }
      }
    });
    proposals.sort((a, b) => b[0] - a[0]);
    let best = null;
    for (const [, kind, row, column] of proposals.slice(0, PROPOSALS)) {
      const dab = { kind, row, column };
      const tried = painted(app, pixels, tool, dab);
      const lead = leadOf(answered(app, net, tried), target);
      if (!best || lead > best.lead) best = { lead, pixels: tried, dab };
    }
    return best;
  }

  // How strongly a tool acts around its centre: [down, across, strength] of every cell it reaches.
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

  function painted(app, pixels, tool, { kind, row, column }) {
    const [channels, height, width] = app.shape,
      out = Uint8Array.from(pixels),
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

  // Without every dab that is not needed.
  function spared(app, net, start, target, tool, dabs, pixels) {
    let [kept, picture] = [dabs, pixels];
    for (const dab of dabs.slice(0, -1)) {
      const fewer = kept.filter((other) => other !== dab);
      const tried = fewer.reduce((before, one) => painted(app, before, tool, one), start);
      if (leadOf(answered(app, net, tried), target) > 0) [kept, picture] = [fewer, tried];
    }
    return { dabs: kept, pixels: picture };
  }

  function changeOf(after, before, [channels]) {
    return after.reduce((sum, value, at) => sum + Math.abs(value - before[at]), 0) / 255 / channels;
  }

  function same(first, second) {
    return first.length === second.length && first.every((value, at) => value === second[at]);
  }

  // The changed picture, its changes in colour.
  function traces(app, before, after) {
    const [channels, height, width] = app.shape,
      plane = height * width;
    const canvas = make("canvas", { width, height, "aria-hidden": "true" }),
      image = gray(after, height, width, channels);
    for (let cell = 0; cell < plane; cell++) {
      let rise = 0;
      for (let band = 0; band < channels; band++) rise += (after[band * plane + cell] - before[band * plane + cell]) / 255 / channels;
      const share = Math.min(1, Math.abs(rise)),
        colour = TOUCHED[rise > 0 ? "lighter" : "darker"];
      for (let band = 0; band < 3; band++) {
        const at = cell * 4 + band;
        image.data[at] = image.data[at] * (1 - share) + colour[band] * share;
      }
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }

  return { block };
})();
