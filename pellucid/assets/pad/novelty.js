"use strict";
// Whether a picture is unlike anything taught, as pad/novelty.py and evaluation/novelty.py have it: its distance from
// the nearest training pictures in the last hidden layer.
const PellucidNovelty = (() => {
  const { bytesOf, halves } = PellucidSnapshots;
  const { make, quiet } = PellucidParts;
  const { whole } = PellucidFormatting;

  /**
   * A function that compares the last run of a network with the training pictures of the page.
   * @param {NoveltyData} data
   * @returns {(net: Net) => Novelty}
   */
  function create(data) {
    const bank = unitRows(data);
    return (net) => {
      const distance = distanceTo(bank, data, featuresOf(net.values[data.value], net.shapes[data.value]));
      let nearer = 0; // percentiles of the pictures held out
      while (nearer < 100 && data.percentiles[nearer + 1] < distance) nearer++;
      return { unlike: distance > data.threshold, distance, nearer, held_out: data.held_out };
    };
  }

  /** Training pictures, each of length 1. @param {NoveltyData} data */
  function unitRows({ pictures, precision, count, width }) {
    const bytes = bytesOf(pictures);
    const rows = precision === "i8" ? Float32Array.from(new Int8Array(bytes.buffer)) : halves(bytes);
    for (let row = 0; row < count; row++) normalize(rows.subarray(row * width, (row + 1) * width));
    return rows;
  }

  /** @param {Float32Array} numbers */
  function normalize(numbers) {
    const length = Math.max(1e-12, Math.hypot(...numbers));
    for (let at = 0; at < numbers.length; at++) numbers[at] /= length;
  }

  /** A hidden layer as one row of length 1: maps averaged over their cells, tokens over the tokens.
   * @param {Float32Array} values @param {number[]} shape */
  function featuresOf(values, shape) {
    const across = shape.length === 2, // tokens, features
      width = shape.length === 1 ? values.length : across ? shape[1] : shape[0],
      each = values.length / width;
    const row = new Float32Array(width);
    for (let at = 0; at < values.length; at++) row[across ? at % width : Math.floor(at / each)] += values[at] / each;
    normalize(row);
    return row;
  }

  /** 1 less the mean cosine similarity to the nearest rows. @param {Float32Array} rows @param {NoveltyData} data
   * @param {Float32Array} picture */
  function distanceTo(rows, { count, width, neighbours }, picture) {
    const similarities = new Float32Array(count);
    for (let row = 0, at = 0; row < count; row++) {
      let sum = 0;
      for (let feature = 0; feature < width; feature++, at++) sum += rows[at] * picture[feature];
      similarities[row] = sum;
    }
    const nearest = similarities.sort().subarray(count - neighbours);
    return 1 - nearest.reduce((sum, similarity) => sum + similarity, 0) / neighbours;
  }

  /** In words, "" of a picture that is like those taught. @param {Say} say @param {Novelty | null} novelty */
  function inWords(say, novelty) {
    if (!novelty || !novelty.unlike) return "";
    const count = whole(novelty.held_out);
    return novelty.nearer >= 100
      ? say("novelty.farthest", { count })
      : say("novelty.unlike", { share: `${novelty.nearer} %`, count });
  }

  /** The sentence beside an answer. @param {Page} page @param {Run} run */
  function block({ say, drawing }, run) {
    const sentence = make("b");
    const element = make("div", { class: "live-novelty", hidden: true });
    element.append(make("p", {}, sentence), quiet(say("novelty.caveat")));
    run.view.refreshers.push(() => {
      const text = drawing.empty ? "" : inWords(say, run.answerer.last.novelty);
      element.hidden = !text;
      if (sentence.textContent !== text) sentence.textContent = text;
    });
    return element;
  }

  return { block, create, inWords };
})();
