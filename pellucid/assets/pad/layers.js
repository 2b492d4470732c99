"use strict";
// Every layer with all its channels.
const PellucidLayers = (() => {
  const { COLOURS, argmax } = PellucidImages;
  const { number } = PellucidFormatting;
  const { button, choice, contextOf, heading, make, quiet, scaleBar } = PellucidParts;
  const { channels: CHANNELS, folded_channels: FEWER, folded_from: FOLDED } = PellucidConstants.layers; // shown at most
  const [HATCH, DARK] = [0xff888888, 0xff303030]; // of a channel that is switched off

  /** @param {Page} page @param {Run} run @param {HTMLElement} section */
  function layersRoom(page, run, section) {
    const { say } = page,
      { off } = run.choices;
    section.append(heading(run.view.heads, say("layers")), scaleChoice(page, run));
    section.append(...folded(page, run, run.answerer.layers, (layer) => layerFigure(page, run, layer)));
    section.append(quiet(say("layer.hint")));
    const note = make("span");
    const back = button(say("off.back"), () => {
      run.choices.off.clear();
      page.changed();
      page.settle();
    });
    const all = make("p", { hidden: !off.size }, note, " ", back);
    section.append(all);
    run.view.refreshers.push(() => {
      const count = [...run.choices.off.values()].reduce((sum, channels) => sum + channels.size, 0);
      all.hidden = !count;
      note.textContent = say("off.all", { count });
    });
  }

  /**
   * What shows each layer, that of the inner layers of a stage to be opened; filled when it is.
   * @param {Page} page @param {Run} run @param {Layer[]} layers @param {(layer: Layer) => HTMLElement} shown
   */
  function folded({ say, changed }, run, layers, shown) {
    const groups = PellucidLayerNames.grouped(layers),
      parts = groups.flatMap(({ stage, layers: own }) => {
        if (own.length === 1) return [shown(own[0])];
        const inner = own.slice(0, -1),
          summary = make("summary", {}, say("layer.inside", { stage, count: inner.length })),
          body = make("details", { class: "live-stage" }, summary);
        const fill = () => {
          if (body.childElementCount === 1) body.append(...inner.map(shown));
        };
        body.addEventListener("toggle", () => {
          if (!body.open) return;
          fill();
          changed();
        });
        const before = run.view.reveal;
        run.view.reveal = (layer) => {
          if (inner.includes(layer)) {
            body.open = true;
            fill();
          }
          before(layer);
        };
        return [body, shown(own[own.length - 1])];
      });
    return groups.length < layers.length ? [quiet(say("layer.stages")), ...parts] : parts;
  }

  /** @param {Page} page @param {Run} run */
  function scaleChoice(page, run) {
    const scales = choice(page.say, "scale", /** @type {const} */ (["layer", "channel", "fixed"]), {
      get: () => run.choices.scale,
      set: (scale) => {
        run.choices.scale = scale;
        page.drawing.touched = true;
        page.changed();
        page.settle();
      },
      refreshers: run.view.refreshers,
    });
    return make("div", { class: "live-tools" }, scales);
  }

  /** The size of a layer in words. @param {Say} say @param {number[]} shape */
  function kindOf(say, shape) {
    if (shape.length === 2) return say("layer.tokens", { height: shape[0], width: shape[1] });
    const [channels, height, width] = shape;
    return height === undefined
      ? say("layer.units", { channels })
      : say("layer.maps", { channels, height, width });
  }

  /** @param {Page} page @param {Run} run @param {Layer} layer */
  function layerFigure(page, run, layer) {
    const [channels, height = 1, width = 1] = layer.shape,
      count = Math.min(channels, run.answerer.layers.length < FOLDED ? CHANNELS : FEWER);
    const { bar, low, high } = scaleBar();
    const canvas = make("canvas"),
      mark = make("span", { class: "live-mark", hidden: true });
    const title = PellucidLayerNames.title(page.say, layer.name);
    const slider = {
      role: "slider",
      "aria-label": page.say("layer.slider", { layer: title }),
      "aria-valuemin": 1,
      "aria-valuemax": count,
      "aria-valuenow": 1,
    };
    const sheet = make("div", { class: "live-sheet", tabindex: 0, ...slider }, canvas, mark);
    const read = make("p", { class: "live-read" });
    const size = make("span", { class: "live-quiet" }, kindOf(page.say, layer.whole.length === 2 ? layer.whole : layer.shape));
    if (count < channels) size.append(page.say("layer.first", { count }));
    const caption = make("figcaption", { class: "live-layer-head" }, make("b", { title: layer.name }, title), size, bar);
    const figure = make("figure", { class: "live-layer" }, caption, sheet, read);
    /** @type {LayerView} */
    const view = {
      layer, channels: count, height, width, flat: layer.shape.length === 1,
      canvas, mark, sheet, read, bar, low, high, figure, walked: null, tiles: null,
    };
    run.view.layers.push(view);
    new ResizeObserver(() => lay(page, run, view)).observe(figure);
    listen(page, run, view);
    run.view.refreshers.push(() => paintLayer(page, run, view));
    return figure;
  }

  /** How many columns and how large a cell, in whole pixels, for the room there is.
   * @param {Page} page @param {Run} run @param {LayerView} view */
  function lay(page, run, view) {
    const room = Math.max(120, view.figure.clientWidth),
      gap = view.flat ? 2 : 3;
    const target = room > 900 ? 84 : 58;
    const zoom = view.flat ? 15 : Math.max(1, Math.round(target / Math.max(view.height, view.width)));
    const tile = view.width * zoom + gap;
    const fit = Math.max(1, Math.floor((room + gap) / tile));
    const rows = Math.ceil(view.channels / fit),
      columns = Math.ceil(view.channels / rows);
    if (view.tiles && view.tiles.columns === columns && view.tiles.zoom === zoom) return;
    view.canvas.width = columns * tile - gap;
    view.canvas.height = rows * (view.height * zoom + gap) - gap;
    const image = new ImageData(view.canvas.width, view.canvas.height);
    view.tiles = { zoom, gap, columns, rows, image, words: new Uint32Array(image.data.buffer) };
    paintLayer(page, run, view);
  }

  /** The ends of the colours: zero in the middle where a value is negative, else at the left.
   * @param {Run} run @param {Float32Array} values @param {Layer} layer @param {number} from @param {number} to */
  function range(run, values, layer, from, to) {
    let low = 0,
      high = 0;
    const fixed = run.choices.scale === "fixed" && run.data.scales[layer.name];
    if (fixed) [low, high] = fixed;
    else {
      for (let at = from; at < to; at++) {
        if (values[at] > high) high = values[at];
        else if (values[at] < low) low = values[at];
      }
    }
    const reach = Math.max(-low, high);
    return low < 0 ? [-reach, reach] : [0, high];
  }

  /** @param {Page} page @param {Run} run @param {LayerView} view */
  function paintLayer(page, run, view) {
    const values = run.answerer.values(view.layer);
    if (!view.tiles || !values) return;
    const plane = view.height * view.width,
      own = run.choices.scale === "channel" && !view.flat;
    const shared = range(run, values, view.layer, 0, view.channels * plane);
    const off = run.choices.off.get(view.layer.value);
    for (let channel = 0; channel < view.channels; channel++) {
      const at = channel * plane;
      const [low, high] = own ? range(run, values, view.layer, at, at + plane) : shared;
      paintTile(view, values, channel, low, high);
      if (off && off.has(channel)) hatchTile(view, channel);
    }
    contextOf(view.canvas).putImageData(view.tiles.image, 0, 0);
    view.bar.classList.toggle("live-signed", shared[0] < 0);
    view.low.textContent = own ? "" : number(shared[0]);
    view.high.textContent = own ? page.say("scale.own") : number(shared[1]);
    showMark(run, view);
  }

  /** Where a tile begins. @param {LayerView} view @param {number} channel */
  function cornerOf(view, channel) {
    const { zoom, gap, columns } = /** @type {NonNullable<LayerView["tiles"]>} */ (view.tiles);
    return [
      (channel % columns) * (view.width * zoom + gap),
      Math.floor(channel / columns) * (view.height * zoom + gap),
    ];
  }

  /** @param {LayerView} view @param {Float32Array} values @param {number} channel @param {number} low @param {number} high */
  function paintTile(view, values, channel, low, high) {
    const { zoom, words } = /** @type {NonNullable<LayerView["tiles"]>} */ (view.tiles);
    const colours = low < 0 ? COLOURS.signed : COLOURS.viridis,
      factor = high > low ? 255 / (high - low) : 0;
    const line = view.canvas.width,
      from = channel * view.height * view.width;
    let [left, top] = cornerOf(view, channel);
    for (let row = 0; row < view.height; row++, top += zoom) {
      let to = top * line + left;
      for (let column = 0; column < view.width; column++) {
        let level = (values[from + row * view.width + column] - low) * factor;
        level = level < 0 ? 0 : level > 255 ? 255 : level;
        const colour = colours[level | 0];
        for (let wide = 0; wide < zoom; wide++) words[to++] = colour;
      }
      for (let deep = 1; deep < zoom; deep++) words.copyWithin((top + deep) * line + left, top * line + left, to);
    }
  }

  /** @param {LayerView} view @param {number} channel */
  function hatchTile(view, channel) {
    const { zoom, words } = /** @type {NonNullable<LayerView["tiles"]>} */ (view.tiles);
    const [left, top] = cornerOf(view, channel),
      line = view.canvas.width;
    for (let row = 0; row < view.height * zoom; row++) {
      for (let column = 0; column < view.width * zoom; column++) {
        words[(top + row) * line + left + column] = (row + column) % 6 < 2 ? HATCH : DARK;
      }
    }
  }

  // --- which channel is chosen, and which cell is pointed at

  /** @param {Run} run @param {LayerView} view */
  function showMark(run, view) {
    const { chosen } = run.choices;
    const channel = chosen && chosen.layer === view.layer ? chosen.channel : view.walked;
    view.mark.hidden = channel === null;
    if (channel !== null) placeMark(view, channel);
  }

  /** @param {LayerView} view @param {number} channel */
  function placeMark(view, channel) {
    if (!view.tiles) return;
    const { canvas, mark, tiles } = view,
      [left, top] = cornerOf(view, channel);
    mark.style.left = `${(left / canvas.width) * 100}%`;
    mark.style.top = `${(top / canvas.height) * 100}%`;
    mark.style.width = `${((view.width * tiles.zoom) / canvas.width) * 100}%`;
    mark.style.height = `${((view.height * tiles.zoom) / canvas.height) * 100}%`;
  }

  /** @param {Run} run */
  function showMarks(run) {
    for (const view of run.view.layers) showMark(run, view);
  }

  /** The cell under a pointer; null between the tiles. @param {LayerView} view @param {MouseEvent} event */
  function cellAt(view, event) {
    if (!view.tiles) return null;
    const box = view.canvas.getBoundingClientRect(),
      { zoom, gap, columns } = view.tiles;
    const x = ((event.clientX - box.left) / box.width) * view.canvas.width,
      y = ((event.clientY - box.top) / box.height) * view.canvas.height;
    const tileX = view.width * zoom + gap,
      tileY = view.height * zoom + gap;
    const channel = Math.floor(y / tileY) * columns + Math.floor(x / tileX);
    const row = Math.floor((y % tileY) / zoom),
      column = Math.floor((x % tileX) / zoom);
    const inside = x >= 0 && y >= 0 && channel >= 0 && channel < view.channels;
    return inside && row < view.height && column < view.width ? { channel, row, column } : null;
  }

  /** @param {Run} run @param {LayerView} view @param {number} channel @param {number} row @param {number} column */
  function valueAt(run, view, channel, row, column) {
    const values = run.answerer.values(view.layer);
    return values ? values[(channel * view.height + row) * view.width + column] : 0;
  }

  /** Says what a cell holds and frames what it sees.
   * @param {Page} page @param {Run} run @param {LayerView} view @param {{channel: number, row: number, column: number} | null} cell */
  function describe(page, run, view, cell) {
    view.read.textContent = "";
    run.view.showField(null);
    if (!cell) return;
    const { channel, row, column } = cell;
    const value = number(valueAt(run, view, channel, row, column));
    if (view.flat) {
      view.read.textContent = page.say("hover.unit", { channel: channel + 1, value });
      return;
    }
    const area = run.answerer.field(view.layer, row, column),
      [top, left, bottom, right] = (area || []).map((pixel) => pixel + 1);
    const facts = { channel: channel + 1, row: row + 1, column: column + 1, value, top, left, bottom, right };
    view.read.textContent = page.say(area ? "hover.map" : "hover.cell", facts);
    run.view.showField(area);
  }

  /** @param {Page} page @param {Run} run @param {LayerView} view */
  function listen(page, run, view) {
    const { sheet } = view;
    /** @param {number} channel @param {number} row @param {number} column */
    const choose = (channel, row, column) => {
      page.drawing.touched = true;
      run.choices.chosen = { layer: view.layer, channel, row, column };
      PellucidChannel.open(page, run);
      showMarks(run);
      page.changed();
      page.settle();
    };
    sheet.addEventListener("pointermove", (event) => describe(page, run, view, cellAt(view, event)));
    sheet.addEventListener("pointerleave", () => describe(page, run, view, null));
    sheet.addEventListener("click", (event) => {
      const cell = cellAt(view, event);
      if (cell) choose(cell.channel, cell.row, cell.column);
    });
    sheet.addEventListener("keydown", (event) => {
      const last = view.channels - 1,
        at = view.walked || 0,
        columns = view.tiles ? view.tiles.columns : 1;
      /** @type {Record<string, number>} */
      const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns, ArrowDown: at + columns, Home: 0, End: last };
      if (event.key in moves) walk(page, run, view, Math.min(last, Math.max(0, moves[event.key])));
      else if (event.key === "Enter" || event.key === " ") choose(at, ...strongest(run, view, at));
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    sheet.addEventListener("focus", () => {
      if (view.walked === null) walk(page, run, view, 0);
    });
    sheet.addEventListener("blur", () => {
      view.walked = null;
      describe(page, run, view, null);
      showMark(run, view);
    });
  }

  /** Row and column of the highest value. @param {Run} run @param {LayerView} view @param {number} channel
   * @returns {[number, number]} */
  function strongest(run, view, channel) {
    const plane = view.height * view.width,
      values = run.answerer.values(view.layer);
    const cell = values ? argmax(values.subarray(channel * plane, (channel + 1) * plane)) : 0;
    return [Math.floor(cell / view.width), cell % view.width];
  }

  /** @param {Page} page @param {Run} run @param {LayerView} view @param {number} channel */
  function walk(page, run, view, channel) {
    view.walked = channel;
    const [row, column] = strongest(run, view, channel);
    const value = number(valueAt(run, view, channel, row, column));
    view.sheet.setAttribute("aria-valuenow", String(channel + 1));
    view.sheet.setAttribute("aria-valuetext", page.say("announce.channel", { channel: channel + 1, value }));
    describe(page, run, view, { channel, row, column });
    view.mark.hidden = false;
    placeMark(view, channel);
  }

  return { folded, kindOf, layerFigure, layersRoom, scaleChoice, showMarks };
})();
