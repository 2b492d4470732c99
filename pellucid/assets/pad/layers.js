"use strict";
// Every layer with all its channels, and one channel opened: its kernel, its arithmetic, its pictures.
const PellucidLayers = (() => {
  const { COLOURS, argmax, choice, make, number, percent, points, signed, thumbnail, whole } = PellucidParts;
  const { start } = PellucidPad;
  const CHANNELS = 128; // shown of a layer, at most
  const TABLE = 16; // classes in a table, at most: of more, those that change most

  // --- the layers

  function layersRoom(app, section) {
    section.append(
      make(app.heads[0], { class: "live-head" }, app.say("layers")),
      make("div", { class: "live-tools" }, choice(app, "scale", ["layer", "channel", "fixed"], "scale")),
    );
    for (const layer of app.net.layers) section.append(layerFigure(app, layer));
    section.append(make("p", { class: "live-quiet" }, app.say("layer.hint")));
    const back = make(
      "button",
      {
        type: "button",
        onclick: () => {
          app.off.clear();
          app.changed();
          app.settle();
        },
      },
      app.say("off.back"),
    );
    const note = make("span", {});
    const all = make("p", { hidden: true }, note, " ", back);
    section.append(all);
    app.refreshers.push(() => {
      const count = [...app.off.values()].reduce((sum, channels) => sum + channels.size, 0);
      all.hidden = !count;
      note.textContent = app.say("off.all", { count });
    });
  }

  function layerFigure(app, layer) {
    const [channels, height = 1, width = 1] = layer.shape,
      count = Math.min(channels, CHANNELS),
      flat = layer.shape.length === 1;
    const low = make("span", {}),
      high = make("span", {});
    const bar = make("span", { class: "live-bar-scale" }, low, make("i", {}), high);
    const canvas = make("canvas", {});
    const mark = make("span", { class: "live-mark", hidden: true });
    const sheet = make(
      "div",
      {
        class: "live-sheet",
        tabindex: 0,
        role: "slider",
        "aria-label": app.say("layer.slider", { layer: layer.name }),
        "aria-valuemin": 1,
        "aria-valuemax": count,
        "aria-valuenow": 1,
      },
      canvas,
      mark,
    );
    const read = make("p", { class: "live-read" });
    const kind = flat
      ? app.say("layer.units", { channels })
      : app.say("layer.maps", { channels, height, width });
    const figure = make(
      "figure",
      { class: "live-layer" },
      make(
        "figcaption",
        { class: "live-layer-head" },
        make("b", {}, layer.name),
        make("span", { class: "live-quiet" }, kind),
        bar,
      ),
      sheet,
      read,
    );
    const view = {
      layer,
      channels: count,
      height,
      width,
      flat,
      canvas,
      mark,
      sheet,
      read,
      bar,
      low,
      high,
      figure,
    };
    app.views.push(view);
    new ResizeObserver(() => lay(app, view)).observe(figure);
    hovering(app, view);
    app.refreshers.push(() => paintLayer(app, view));
    return figure;
  }

  // How many columns and how large a cell, in whole pixels, for the room there is.
  function lay(app, view) {
    const room = Math.max(120, view.figure.clientWidth),
      gap = view.flat ? 2 : 3;
    const target = room > 900 ? 84 : 58;
    const zoom = view.flat ? 15 : Math.max(1, Math.round(target / Math.max(view.height, view.width)));
    const tile = view.width * zoom + gap;
    const fit = Math.max(1, Math.floor((room + gap) / tile));
    const rows = Math.ceil(view.channels / fit),
      columns = Math.ceil(view.channels / rows);
    if (view.columns === columns && view.zoom === zoom) return;
    Object.assign(view, { zoom, gap, columns, rows });
    view.canvas.width = columns * tile - gap;
    view.canvas.height = rows * (view.height * zoom + gap) - gap;
    view.image = new ImageData(view.canvas.width, view.canvas.height);
    view.words = new Uint32Array(view.image.data.buffer);
    if (app.pixels) paintLayer(app, view);
  }

  function range(app, values, layer, from, to) {
    let low = 0,
      high = 0;
    if (app.scale === "fixed" && app.data.scales[layer.name]) [low, high] = app.data.scales[layer.name];
    else {
      for (let place = from; place < to; place++) {
        if (values[place] > high) high = values[place];
        else if (values[place] < low) low = values[place];
      }
    }
    if (low < 0) {
      // signed: the middle of the colours is zero
      const reach = Math.max(-low, high);
      return [-reach, reach];
    }
    return [0, high];
  }

  function paintLayer(app, view) {
    if (!view.image) return;
    const values = app.net.values[view.layer.value],
      plane = view.height * view.width;
    const shared = range(app, values, view.layer, 0, view.channels * plane);
    const silenced = app.off.get(view.layer.value);
    for (let channel = 0; channel < view.channels; channel++) {
      const at = channel * plane;
      const [low, high] =
        app.scale === "channel" && !view.flat ? range(app, values, view.layer, at, at + plane) : shared;
      paintTile(view, values, at, channel, low, high, silenced && silenced.has(channel));
    }
    view.canvas.getContext("2d").putImageData(view.image, 0, 0);
    const own = app.scale === "channel" && !view.flat;
    view.bar.classList.toggle("live-signed", shared[0] < 0);
    view.low.textContent = own ? "" : number(shared[0]);
    view.high.textContent = own ? app.say("scale.own") : number(shared[1]);
    showMark(app, view);
  }

  function paintTile(view, values, at, channel, low, high, silenced) {
    const colours = low < 0 ? COLOURS.signed : COLOURS.plain,
      factor = high > low ? 255 / (high - low) : 0;
    const { zoom, words } = view,
      line = view.canvas.width;
    const left = (channel % view.columns) * (view.width * zoom + view.gap);
    let top = Math.floor(channel / view.columns) * (view.height * zoom + view.gap);
    for (let row = 0; row < view.height; row++, top += zoom) {
      let to = top * line + left;
      for (let column = 0; column < view.width; column++) {
        let level = (values[at + row * view.width + column] - low) * factor;
        level = level < 0 ? 0 : level > 255 ? 255 : level;
        const colour = colours[level | 0];
        for (let wide = 0; wide < zoom; wide++) words[to++] = colour;
      }
      for (let deep = 1; deep < zoom; deep++)
        words.copyWithin((top + deep) * line + left, top * line + left, to);
    }
    if (!silenced) return;
    const size = view.height * zoom,
      width = view.width * zoom,
      first = top - size;
    for (let cell = 0; cell < size * width; cell++) {
      // hatched: switched off
      const row = Math.floor(cell / width),
        column = cell % width;
      words[(first + row) * line + left + column] = (row + column) % 6 < 2 ? 0xff888888 : 0xff303030;
    }
  }

  function tileOf(view, channel) {
    const { canvas, zoom, gap, width, height, columns } = view;
    const left = (channel % columns) * (width * zoom + gap),
      top = Math.floor(channel / columns) * (height * zoom + gap);
    return {
      left: (left / canvas.width) * 100,
      top: (top / canvas.height) * 100,
      width: ((width * zoom) / canvas.width) * 100,
      height: ((height * zoom) / canvas.height) * 100,
    };
  }

  function showMark(app, view) {
    const here = app.chosen && app.chosen.layer === view.layer ? app.chosen.channel : view.walked;
    view.mark.hidden = here === undefined || here === null;
    if (view.mark.hidden) return;
    for (const [side, share] of Object.entries(tileOf(view, here))) view.mark.style[side] = `${share}%`;
  }

  function cellAt(view, event) {
    const box = view.canvas.getBoundingClientRect(),
      { zoom, gap } = view;
    const x = ((event.clientX - box.left) / box.width) * view.canvas.width,
      y = ((event.clientY - box.top) / box.height) * view.canvas.height;
    const tileX = view.width * zoom + gap,
      tileY = view.height * zoom + gap;
    const channel = Math.floor(y / tileY) * view.columns + Math.floor(x / tileX);
    const row = Math.floor((y % tileY) / zoom),
      column = Math.floor((x % tileX) / zoom);
    if (
      channel < 0 ||
      channel >= view.channels ||
      x < 0 ||
      y < 0 ||
      row >= view.height ||
      column >= view.width
    )
      return null;
    return { channel, row, column };
  }

  function tell(app, view, cell) {
    if (!cell) {
      view.read.textContent = "";
      app.showField(null);
      return;
    }
    const { channel, row, column } = cell,
      values = app.net.values[view.layer.value];
    const value = number(values[(channel * view.height + row) * view.width + column]);
    if (view.flat) {
      view.read.textContent = app.say("hover.unit", { channel: channel + 1, value });
      app.showField(null);
      return;
    }
    const area = app.net.field(view.layer, row, column), // null where it cannot be told
      [top, left, bottom, right] = (area || []).map((place) => place + 1);
    const told = { channel: channel + 1, row: row + 1, column: column + 1, value, top, left, bottom, right };
    view.read.textContent = app.say(area ? "hover.map" : "hover.cell", told);
    app.showField(area);
  }

  function hovering(app, view) {
    const { sheet } = view;
    const choose = (channel, row, column) => {
      app.touched = true;
      app.chosen = { layer: view.layer, view, channel, row, column };
      openChannel(app);
      for (const each of app.views) showMark(app, each);
      app.changed();
      app.settle();
    };
    sheet.addEventListener("pointermove", (event) => tell(app, view, cellAt(view, event)));
    sheet.addEventListener("pointerleave", () => tell(app, view, null));
    sheet.addEventListener("click", (event) => {
      const cell = cellAt(view, event);
      if (cell) choose(cell.channel, cell.row, cell.column);
    });
    sheet.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -view.columns, ArrowDown: view.columns };
      const at = view.walked || 0;
      if (moves[event.key]) walk(app, view, Math.min(view.channels - 1, Math.max(0, at + moves[event.key])));
      else if (event.key === "Home" || event.key === "End")
        walk(app, view, event.key === "Home" ? 0 : view.channels - 1);
      else if (event.key === "Enter" || event.key === " ") {
        const [row, column] = strongest(app, view, at);
        choose(at, row, column);
      } else return;
      event.preventDefault();
      event.stopPropagation();
    });
    sheet.addEventListener("focus", () => {
      if (view.walked === undefined) walk(app, view, 0);
    });
    sheet.addEventListener("blur", () => {
      delete view.walked;
      tell(app, view, null);
      showMark(app, view);
    });
  }

  function strongest(app, view, channel) {
    const plane = view.height * view.width,
      at = channel * plane;
    const cell = argmax(app.net.values[view.layer.value].subarray(at, at + plane));
    return [Math.floor(cell / view.width), cell % view.width];
  }

  function walk(app, view, channel) {
    view.walked = channel;
    const [row, column] = strongest(app, view, channel);
    const value = app.net.values[view.layer.value][(channel * view.height + row) * view.width + column];
    view.sheet.setAttribute("aria-valuenow", channel + 1);
    view.sheet.setAttribute(
      "aria-valuetext",
      app.say("said.channel", { channel: channel + 1, value: number(value) }),
    );
    tell(app, view, { channel, row, column });
    view.mark.hidden = false;
    for (const [side, share] of Object.entries(tileOf(view, channel))) view.mark.style[side] = `${share}%`;
  }

  // --- one channel, opened

  function openChannel(app) {
    const { chosen, say } = app;
    if (app.panel) app.panel.remove();
    app.panelRefreshers = [];
    const { layer, view, channel } = chosen;
    const close = () => {
      app.panel.remove();
      app.panel = app.chosen = null;
      app.panelRefreshers = [];
      for (const each of app.views) showMark(app, each);
      view.sheet.focus({ preventScroll: true });
      app.settle();
    };
    const sum = make("div", {}),
      kernel = kernels(app),
      worth = make("div", {}),
      pictures = make("div", {});
    const panel = make(
      "aside",
      {
        class: "live-channel",
        "aria-label": `${app.letter || ""} ${say("channel", { layer: layer.name, channel: channel + 1 })}`.trim(),
      },
      make(
        "header",
        {},
        make(
          app.heads[0],
          { class: "live-head" },
          say("channel", { layer: layer.name, channel: channel + 1 }),
        ),
        make("button", { type: "button", onclick: close }, say("close")),
      ),
      switchOff(app, layer, channel),
      worth,
      make("div", { class: "live-cols" }, sum, kernel.block),
      pictures,
    );
    app.panel = panel;
    const count = () => {
      if (app.panel !== panel) return;
      const facts = app.tables.of(layer, channel, count);
      worth.replaceChildren(...worthOf(app, facts));
      pictures.replaceChildren(...exciting(app, facts));
    };
    count();
    app.panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      close();
    });
    view.figure.append(app.panel);
    app.panelRefreshers.push(() => {
      const found = app.net.working(app.chosen);
      kernel.paint(found);
      sum.replaceChildren(...arithmetic(app, found));
    });
    for (const refresh of app.panelRefreshers) refresh();
  }

  function switchOff(app, layer, channel) {
    const box = make("input", {
      type: "checkbox",
      onchange: () => {
        const channels = app.off.get(layer.value) || new Set();
        if (box.checked) channels.add(channel);
        else channels.delete(channel);
        if (channels.size) app.off.set(layer.value, channels);
        else app.off.delete(layer.value);
        app.touched = true;
        app.changed();
        app.settle();
      },
    });
    app.panelRefreshers.push(() => {
      box.checked = Boolean(app.off.get(layer.value) && app.off.get(layer.value).has(channel));
    });
    return make("label", {}, box, app.say("off"));
  }

  // How many test pictures excite a channel, and what it is worth: facts as `carried` gives them, {waiting} while
  // they are counted, {failed}, or null.
  function worthOf(app, facts) {
    const line = (text) => make("p", { class: "live-quiet" }, text);
    if (!facts) return [];
    if (facts.waiting) return [make("p", { class: "live-quiet", role: "status" }, app.say("counting"))];
    if (facts.failed) return [make("p", { class: "live-bad" }, app.say("failed", { error: facts.failed }))];
    if (!facts.looked) return [line(app.say("counting.none"))];
    return [
      line(app.say("excited", { share: percent(facts.excited), count: whole(facts.looked) })),
      ...(facts.off ? costs(app, facts) : facts.number ? [line(app.say("off.few", { number: facts.number }))] : []),
    ];
  }

  // What switching a channel off costs on test pictures: in all, and class by class.
  function costs(app, { off: [overall, ...byClass], number: asked }) {
    const { classes } = app.data,
      { say } = app;
    const told = say("off.cost", { number: whole(asked), change: points(overall) });
    const changed = byClass.map((change, label) => [change, label]).filter(([change]) => change);
    if (!changed.length) return [make("p", { class: "live-quiet" }, `${told} ${say("off.none")}`)];
    changed.sort((a, b) => Math.abs(b[0]) - Math.abs(a[0]));
    const shown = classes.length <= TABLE ? byClass.map((change, label) => [change, label]) : changed.slice(0, TABLE);
    const row = (tag, text) => make("tr", {}, ...shown.map((pair) => make(tag, {}, text(pair))));
    return [
      make("p", { class: "live-quiet" }, told),
      make(
        "div",
        { class: "live-wide", tabindex: 0 },
        make(
          "table",
          { class: "live-patch live-classes" },
          make("caption", {}, say("off.classes")),
          make("thead", {}, row("th", ([, label]) => classes[label])),
          make("tbody", {}, row("td", ([change]) => (change ? points(change) : "0"))),
        ),
      ),
    ];
  }

  // What test pictures say of channels, from the tables that the page carries. torch.js asks for the same.
  function carried(app) {
    return {
      of(layer, channel) {
        const own = app.data.channels[layer.name],
          table = own && own.as ? app.data.channels[own.as] : own;
        if (!table || !app.pool) return null;
        const { count } = app.pool;
        return {
          top: table.top[channel],
          low: table.low[channel],
          random: Array.from({ length: 9 }, (_, place) => (channel * 9 + place * 61 + 7) % count),
          count,
          excited: table.excited[channel],
          looked: app.data.check.looked,
          off: table.off && table.off[channel],
          number: app.data.switched,
        };
      },
      picture(place) {
        const pixels = app.pool.at(place),
          { labels, sources } = app.data.pool;
        return { pixels, shape: app.shape, label: labels[place], source: sources[place], whole: async () => pixels };
      },
    };
  }

  const namesOf = (app, names) => names.map((name) => name || app.say("sum.picture")).join(", ");

  // The weights of a channel as a picture: a tile for each channel it reads, one scale for all.
  function kernels(app) {
    const canvas = make("canvas", { role: "img", "aria-label": app.say("kernel") }),
      heading = make(app.heads[1], { class: "live-subhead" });
    const low = make("span", {}),
      high = make("span", {}),
      context = canvas.getContext("2d");
    const block = make(
      "div",
      {},
      heading,
      canvas,
      make("p", {}, make("span", { class: "live-bar-scale live-signed" }, low, make("i", {}), high)),
    );
    const paint = (found) => {
      block.hidden = !found || !found.weights;
      if (block.hidden) return;
      const { weights } = found,
        [kh, kw] = found.kernel || [1, 1],
        share = weights.length / (kh * kw);
      const columns = Math.min(share, share <= 64 && found.kernel ? 8 : found.kernel ? 24 : 32);
      const room = share === 1 ? 96 : share <= 64 ? 30 : 12,
        zoom = found.kernel ? Math.max(share <= 64 ? 4 : 3, Math.floor(room / kw)) : 7,
        gap = found.kernel ? (share <= 64 ? 3 : 2) : 1;
      const width = columns * (kw * zoom + gap) - gap,
        height = Math.ceil(share / columns) * (kh * zoom + gap) - gap;
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      const reach = weights.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);
      weights.forEach((value, at) => {
        const part = Math.floor(at / (kh * kw)),
          tap = at % (kh * kw);
        const colour = COLOURS.signed[Math.round((value / reach) * 127.5 + 127.5)];
        context.fillStyle = `rgb(${colour & 255}, ${(colour >> 8) & 255}, ${(colour >> 16) & 255})`;
        context.fillRect(
          (part % columns) * (kw * zoom + gap) + (tap % kw) * zoom,
          Math.floor(part / columns) * (kh * zoom + gap) + Math.floor(tap / kw) * zoom,
          zoom,
          zoom,
        );
      });
      low.textContent = number(-reach);
      high.textContent = number(reach);
      const layer = namesOf(app, found.received[0]);
      heading.textContent = !found.kernel
        ? app.say("kernel.dense", { layer })
        : share === 1
          ? app.say("kernel")
          : app.say("kernel.many", { layer });
    };
    return { block, paint };
  }

  // How the value at the chosen cell came about; `found` as network.js `sums` gives it, null while torch is asked.
  function arithmetic(app, found) {
    const { view } = app.chosen,
      { say } = app;
    const where = view.flat || !found ? "" : ` ${say("sum.at", { row: found.row + 1, column: found.column + 1 })}`;
    const heading = make(app.heads[1], { class: "live-subhead" }, `${say("sum")}${where}`);
    if (!found) return [heading, make("p", { class: "live-quiet" }, say("sum.waiting"))];
    return [heading, ...partsOf(app, found), ...followed(app, found)];
  }

  function partsOf(app, found) {
    const { say } = app;
    if (found.kind === "conv2d") return convolution(app, found);
    if (found.kind === "linear") return dense(app, found);
    if (found.kind === "block") return insideOf(app, found);
    if (found.kind.includes("pool")) {
      const cells = found.parts.slice(0, 16).map(number).join(", ") + (found.parts.length > 16 ? ", …" : "");
      const key = found.kind.includes("max") ? "sum.pool.max" : "sum.pool.average";
      return [make("p", {}, say(key, { cells, value: number(found.pooled) }))];
    }
    if (!found.parts.length) return [make("p", {}, say("sum.other", { value: number(found.value) }))];
    const rows = found.parts.map((part, place) =>
      make(
        "li",
        {},
        make("span", {}, say("sum.given", { layer: namesOf(app, found.received[place]) })),
        make("span", {}, number(part)),
      ),
    );
    return [make("ul", { class: "live-parts" }, ...rows)];
  }

  // A layer made of others has no kernel of its own: they can be opened.
  function insideOf(app, found) {
    const { say } = app,
      value = number(found.value);
    if (!found.inside.length) return [make("p", {}, say("sum.several", { value }))];
    const buttons = found.inside.map((layer) =>
      make("button", { type: "button", onclick: () => app.reveal(layer) }, layer.name),
    );
    return [make("p", {}, say("sum.block", { value })), make("p", { class: "live-tools" }, ...buttons)];
  }

  // What the layer does after its sum, or instead of one.
  function followed(app, found) {
    const { say } = app;
    if (!found.after.length) return [];
    const steps = found.after.map((step) => {
      const value = number(step.value);
      return step.factor === undefined
        ? say("sum.step", { name: step.name.replaceAll("_", " "), value })
        : say("sum.norm", { factor: number(step.factor), term: signed(step.term), value });
    });
    const last = found.after[found.after.length - 1].value;
    const silenced = Math.abs(last - found.value) > 1e-4 * Math.max(1, Math.abs(last)); // switched off
    if (silenced) steps.push(say("sum.step", { name: say("off"), value: number(found.value) }));
    return [make("p", {}, say("sum.after", { steps: steps.join(" → ") }))];
  }

  function totals(app, found) {
    return make(
      "p",
      {},
      app.say("sum.total", {
        products: number(found.total - found.bias),
        bias: number(found.bias),
        total: number(found.total),
      }),
    );
  }

  function convolution(app, found) {
    const parts = [...found.parts].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum)),
      [most] = parts,
      [kh, kw] = found.kernel;
    const rows =
      kh * kw <= 25
        ? Array.from({ length: kh }, (_, row) =>
            make(
              "tr",
              {},
              ...Array.from({ length: kw }, (__, column) => {
                const tap = row * kw + column;
                return make("td", {}, `${number(most.patch[tap])} × ${number(most.kernel[tap])}`);
              }),
            ),
          )
        : [];
    const list = parts.length > 1 ? shortList(app, parts, (part) => signed(part.sum)) : [];
    return [
      make("p", { class: "live-quiet" }, app.say("sum.strongest", { channel: most.channel + 1 })),
      make(
        "div",
        { class: "live-wide", tabindex: 0 },
        make("table", { class: "live-patch" }, make("tbody", {}, ...rows)),
      ),
      ...list,
      totals(app, found),
    ];
  }

  function dense(app, found) {
    const parts = [...found.parts].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
    return [
      ...shortList(app, parts, (part) =>
        app.say("sum.product", {
          input: number(part.input),
          factor: number(part.factor),
          sum: signed(part.sum),
        }),
      ),
      totals(app, found),
    ];
  }

  function shortList(app, parts, text) {
    const shown = parts.slice(0, 6),
      rest = parts.slice(6);
    const rows = shown.map((part) =>
      make(
        "li",
        {},
        make("span", {}, app.say("sum.unit", { channel: part.channel + 1 })),
        make("span", {}, text(part)),
      ),
    );
    if (rest.length) {
      const sum = rest.reduce((total, part) => total + part.sum, 0);
      rows.push(make("li", {}, app.say("sum.rest", { count: rest.length, sum: signed(sum) })));
    }
    return [make("ul", { class: "live-parts" }, ...rows)];
  }

  function exciting(app, facts) {
    if (!facts || !facts.top) return [];
    const row = (key, places) =>
      make(
        "div",
        {},
        make(app.heads[1], { class: "live-subhead" }, app.say(key)),
        make("div", { class: "live-thumbs" }, ...places.map((place) => startingFrom(app, place))),
      );
    return [
      make(
        "div",
        { class: "live-cols" },
        row("pictures.top", facts.top),
        row("pictures.random", facts.random),
        row("pictures.low", facts.low),
      ),
      make("p", { class: "live-quiet" }, app.say("pictures.of", { count: whole(facts.count) })),
    ];
  }

  // A test picture, small; pressed, the drawing starts from it.
  function startingFrom(app, place) {
    const { pixels, shape, label, source, whole: fetched } = app.tables.picture(place);
    const says = app.say("picture", { number: source || place + 1, label: app.data.classes[label] });
    const begin = async () => {
      const all = await fetched();
      app.act(() => start(app, all, label));
    };
    return make("button", { type: "button", title: says, onclick: begin }, thumbnail({ shape }, pixels, says));
  }

  return { carried, layerFigure, layersRoom, openChannel, showMark };
})();
