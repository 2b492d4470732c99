"use strict";
// The address of a drawing: #draw;s=strokes;e=example;t=test picture of the report;m=snapshot of each run;
// w=class meant;p=pen;f=1 (free);c=layer,channel,row,column;o=channels switched off. The last two of a single run.
const PellucidAddress = (() => {
  const { PENS } = PellucidDrawing;
  const { fromText, toText } = PellucidStrokes;

  /** @param {Drawing} drawing @param {Run[]} runs */
  function address(drawing, runs) {
    const parts = ["#draw"],
      [{ data, choices }] = runs;
    const { strokes, picture, label, example, test, pen, placed } = drawing;
    if (strokes.length && !picture) parts.push(`s=${toText(strokes)}`);
    if (example !== null) parts.push(`e=${example}`);
    if (test !== null) parts.push(`t=${test}`);
    if (runs.some((run) => run.choices.snapshot < run.snapshots)) {
      parts.push(`m=${runs.map((run) => run.choices.snapshot).join(",")}`);
    }
    const meant = label === null ? -1 : data.classes.indexOf(label);
    if (meant >= 0 && example === null && test === null) parts.push(`w=${meant}`);
    if (pen !== "usual") parts.push(`p=${pen}`);
    if (data.rule && !placed) parts.push("f=1");
    if (runs.length > 1) return parts.join(";");
    if (choices.chosen) {
      const { layer, channel, row, column } = choices.chosen;
      parts.push(`c=${[encodeURIComponent(layer.name), channel, row, column].join(",")}`);
    }
    if (choices.off.size) {
      parts.push(`o=${[...choices.off].map(([value, channels]) => [value, ...channels].join(".")).join(",")}`);
    }
    return parts.join(";");
  }

  /** A number an address holds, under `limit`; null for anything else. @param {string | undefined} text @param {number} limit */
  const integer = (text, limit) => (/^\d{1,6}$/.test(text || "") && Number(text) < limit ? Number(text) : null);

  /** The parts of an address by their letter; null for one of something else. @param {string} text
   * @returns {Record<string, string | undefined> | null} */
  function parse(text) {
    if (!text.startsWith("#draw;")) return null;
    return Object.fromEntries(
      text
        .slice(6)
        .split(";")
        .map((part) => [part.slice(0, 1), part.slice(2)]),
    );
  }

  /**
   * Brings a drawing to what an address says, checked like anything else that comes from outside; the number of
   * a test picture that is still to be fetched, or null.
   * @param {string} text @param {Drawing} drawing @param {Run[]} runs
   */
  function restore(text, drawing, runs) {
    const parts = parse(text);
    if (!parts) return null;
    const [{ data }] = runs;
    const examples = PellucidPictures.examples(runs);
    const example = integer(parts.e, examples.length),
      meant = integer(parts.w, data.classes.length);
    drawing.start({ label: meant === null ? null : data.classes[meant] });
    if (example !== null) drawing.start({ ...examples[example], example });
    else if (parts.s) drawing.strokes = fromText(parts.s);
    const snapshots = (parts.m || "").split(",");
    runs.forEach((run, place) => {
      const snapshot = integer(snapshots[place], run.snapshots);
      run.choices.snapshot = snapshot === null ? run.snapshots : snapshot;
    });
    drawing.pen = Object.hasOwn(PENS, parts.p || "") ? /** @type {Drawing["pen"]} */ (parts.p) : "usual";
    drawing.placed = Boolean(data.rule) && parts.f !== "1";
    if (runs.length === 1) {
      runs[0].choices.off = switchedOff(parts.o || "", runs[0].answerer.layers);
      runs[0].choices.chosen = chosenCell(parts.c || "", runs[0].answerer.layers);
    }
    return example === null && !parts.s ? integer(parts.t, 1e6) : null;
  }

  /** @param {string} text @param {Layer[]} layers @returns {Map<number, Set<number>>} */
  function switchedOff(text, layers) {
    const off = new Map();
    for (const group of text.split(",")) {
      const [value, ...channels] = group.split(".").map((part) => integer(part, 1e6));
      const layer = layers.find((each) => each.value === value);
      const real = channels.filter((channel) => layer && channel !== null && channel < layer.shape[0]);
      if (real.length) off.set(value, new Set(real));
    }
    return off;
  }

  /** @param {string} text @param {Layer[]} layers @returns {Cell | null} */
  function chosenCell(text, layers) {
    const [name, ...places] = text.split(",");
    const layer = layers.find((each) => encodeURIComponent(each.name) === name);
    if (!layer || !places.every((place) => /^\d{1,5}$/.test(place))) return null;
    const [channel = 0, row = 0, column = 0] = places.map(Number),
      [channels, height = 1, width = 1] = layer.shape;
    const shown = Math.min(channels, PellucidConstants.layers.channels);
    return channel < shown && row < height && column < width ? { layer, channel, row, column } : null;
  }

  return { address, restore };
})();
