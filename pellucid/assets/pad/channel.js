"use strict";
// One channel, opened: its kernel, its arithmetic, and what test pictures tell of it.
const PellucidChannel = (() => {
  const { reachOf, signedColour } = PellucidImages;
  const { chance, number, points, whole } = PellucidFormatting;
  const { button, checkbox, contextOf, heading, make, pressable, quiet, scaleBar } = PellucidParts;
  const TABLE = 16; // classes in a table, at most: of more, those that change most

  /** Opens the chosen channel below its layer. @param {Page} page @param {Run} run */
  function open(page, run) {
    const { chosen } = run.choices,
      { say } = page;
    const find = () => run.view.layers.find((each) => chosen && each.layer === chosen.layer);
    if (chosen && !find()) run.view.reveal(chosen.layer);
    const view = find();
    if (!chosen || !view) return;
    if (run.view.panel) run.view.panel.element.remove();
    const { layer, channel } = chosen,
      title = say("channel", { layer: PellucidLayerNames.title(say, layer.name), channel: channel + 1 });
    const close = () => {
      run.choices.chosen = null;
      shut(run);
      view.sheet.focus({ preventScroll: true });
      page.settle();
    };
    const sum = make("div"),
      kernel = kernels(page, run),
      worth = make("div"),
      pictures = make("div");
    const element = make(
      "aside",
      { class: "live-channel", "aria-label": `${run.letter} ${title}`.trim() },
      make("header", {}, heading(run.view.heads, title), button(say("close"), close)),
      worth,
      make("div", { class: "live-cols" }, sum, kernel.block),
      pictures,
    );
    const panel = { element, refreshers: /** @type {Refresher[]} */ ([]) };
    worth.before(switchOff(page, run, chosen, panel.refreshers));
    run.view.panel = panel;
    const count = () => {
      if (run.view.panel !== panel) return;
      const facts = run.answerer.channel(layer, channel, count);
      worth.replaceChildren(...worthOf(page, run, facts));
      pictures.replaceChildren(...exciting(page, run, facts));
    };
    count();
    element.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      close();
    });
    view.figure.append(element);
    panel.refreshers.push(() => {
      const trace = run.choices.chosen && run.answerer.trace(run.choices.chosen);
      kernel.paint(trace);
      sum.replaceChildren(...PellucidArithmetic.arithmetic(page, run, view.flat, trace));
    });
    for (const refresh of panel.refreshers) refresh();
  }

  /** Takes the open channel from the page. @param {Run} run */
  function shut(run) {
    if (run.view.panel) run.view.panel.element.remove();
    run.view.panel = null;
    PellucidLayers.showMarks(run);
  }

  /** @param {Page} page @param {Run} run @param {Cell} cell @param {Refresher[]} refreshers */
  function switchOff(page, run, { layer, channel }, refreshers) {
    const { box, label } = checkbox(page.say("off"), (checked) => {
      const { off } = run.choices,
        channels = off.get(layer.value) || new Set();
      if (checked) channels.add(channel);
      else channels.delete(channel);
      if (channels.size) off.set(layer.value, channels);
      else off.delete(layer.value);
      page.drawing.touched = true;
      page.changed();
      page.settle();
    });
    refreshers.push(() => {
      const channels = run.choices.off.get(layer.value);
      box.checked = Boolean(channels && channels.has(channel));
    });
    return label;
  }

  /** How many test pictures excite a channel, and what it is worth. @param {Page} page @param {Run} run
   * @param {ChannelFacts | null} facts */
  function worthOf({ say }, run, facts) {
    if (!facts) return [];
    if (facts.waiting) return [quiet(say("counting"), { role: "status" })];
    if (facts.failed) return [make("p", { class: "live-bad" }, say("failed", { error: facts.failed }))];
    const { sample_size: sampleSize, excited, accuracy_change: change, ablation_pictures: asked } = facts;
    if (!sampleSize || excited === undefined) return [quiet(say("counting.none"))];
    const first = quiet(say("excited", { share: chance(excited), count: whole(sampleSize) }));
    if (change) return [first, ...costs(say, run, facts, change)];
    return asked ? [first, quiet(say("off.few", { number: asked }))] : [first];
  }

  /** What switching a channel off costs on test pictures: in all, and for the classes where that is beyond chance.
   * @param {Say} say @param {Run} run @param {ChannelFacts} facts @param {number[]} change */
  function costs(say, run, facts, [overall, ...byClass]) {
    const { classes } = run.data,
      beyond = facts.beyond_chance || [],
      channels = whole(facts.tested_channels || 0);
    const cost = [
      say("off.cost", { number: whole(facts.ablation_pictures || 0), change: points(overall) }),
      say(beyond.includes(0) ? "off.beyond" : "off.within", { channels }),
    ].join(" ");
    const all = byClass.map((change, label) => ({ change, label })),
      changed = all.filter(({ label }) => beyond.includes(label + 1));
    if (!changed.length) return [quiet(`${cost} ${say("off.none")}`)];
    changed.sort((a, b) => Math.abs(b.change) - Math.abs(a.change));
    const shown = changed.slice(0, TABLE);
    const table = make(
      "table",
      { class: "live-patch live-classes" },
      make("caption", {}, say("off.classes")),
      make("thead", {}, make("tr", {}, ...shown.map(({ label }) => make("th", {}, classes[label])))),
      make("tbody", {}, make("tr", {}, ...shown.map(({ change }) => make("td", {}, points(change))))),
    );
    return [quiet(cost), make("div", { class: "live-wide", tabindex: 0 }, table)];
  }

  /** The weights of a channel as a picture: a tile for each channel it reads, one scale for all.
   * @param {Page} page @param {Run} run */
  function kernels({ say }, run) {
    const canvas = make("canvas", { role: "img", "aria-label": say("kernel") }),
      title = heading(run.view.heads, "", true);
    const { bar, low, high } = scaleBar(true);
    const block = make("div", {}, title, canvas, make("p", {}, bar));
    /** @param {Trace | null} trace */
    const paint = (trace) => {
      const weights = trace && trace.weights;
      block.hidden = !weights;
      if (!trace || !weights) return;
      const reach = reachOf(weights, 1e-9);
      paintKernels(canvas, weights, trace.kernel || null, reach);
      low.textContent = number(-reach);
      high.textContent = number(reach);
      const layer = PellucidArithmetic.namesOf(say, trace.received[0]),
        [kh, kw] = trace.kernel || [1, 1];
      if (!trace.kernel) title.textContent = say("kernel.dense", { layer });
      else title.textContent = weights.length === kh * kw ? say("kernel") : say("kernel.many", { layer });
    };
    return { block, paint };
  }

  /** @param {HTMLCanvasElement} canvas @param {Float32Array} weights @param {number[] | null} kernel @param {number} reach */
  function paintKernels(canvas, weights, kernel, reach) {
    const [kh, kw] = kernel || [1, 1],
      tiles = weights.length / (kh * kw),
      few = tiles <= 64;
    const columns = Math.min(tiles, !kernel ? 32 : few ? 8 : 24);
    const room = tiles === 1 ? 96 : few ? 30 : 12,
      zoom = kernel ? Math.max(few ? 4 : 3, Math.floor(room / kw)) : 7,
      gap = kernel ? (few ? 3 : 2) : 1;
    const width = columns * (kw * zoom + gap) - gap,
      height = Math.ceil(tiles / columns) * (kh * zoom + gap) - gap,
      context = contextOf(canvas);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    weights.forEach((value, at) => {
      const tile = Math.floor(at / (kh * kw)),
        tap = at % (kh * kw);
      const colour = signedColour(value, reach);
      context.fillStyle = `rgb(${colour & 255}, ${(colour >> 8) & 255}, ${(colour >> 16) & 255})`;
      context.fillRect(
        (tile % columns) * (kw * zoom + gap) + (tap % kw) * zoom,
        Math.floor(tile / columns) * (kh * zoom + gap) + Math.floor(tap / kw) * zoom,
        zoom,
        zoom,
      );
    });
  }

  /** The test pictures that excite a channel most and least, and some at random.
   * @param {Page} page @param {Run} run @param {ChannelFacts | null} facts */
  function exciting(page, run, facts) {
    if (!facts || !facts.top || !facts.low || !facts.random) return [];
    /** @param {string} key @param {number[]} indices */
    const row = (key, indices) =>
      make(
        "div",
        {},
        heading(run.view.heads, page.say(key), true),
        make("div", { class: "live-thumbs" }, ...indices.map((index) => startingFrom(page, run, index))),
      );
    return [
      make(
        "div",
        { class: "live-cols" },
        row("pictures.top", facts.top),
        row("pictures.random", facts.random),
        row("pictures.low", facts.low),
      ),
      quiet(page.say("pictures.of", { count: whole(facts.count || 0) })),
    ];
  }

  /** A test picture, small; pressed, the drawing starts from it. @param {Page} page @param {Run} run @param {number} index */
  function startingFrom(page, run, index) {
    const { pixels, shape, label, source, whole: fetched } = run.answerer.picture(index);
    const name = run.data.classes[label];
    const begin = async () => {
      try {
        const picture = PellucidPictures.pictureFrom(page.runs, run, await fetched());
        PellucidPad.act(page, () => page.drawing.start({ picture, label: name }));
      } catch (error) {
        run.view.failed(/** @type {Error} */ (error));
      }
    };
    return pressable(pixels, shape, page.say("picture", { number: source || index + 1, label: name }), begin);
  }

  return { open, shut };
})();
