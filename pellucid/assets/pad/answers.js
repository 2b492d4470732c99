"use strict";
// The answer: its classes, where the evidence lies, what would change it, and how unlike the training pictures.
const PellucidAnswers = (() => {
  const { reachOf, signedColour } = PellucidImages;
  const { chance, number } = PellucidFormatting;
  const { checkbox, contextOf, heading, make, quiet, scaleBar } = PellucidParts;
  const BARS = 10; // classes shown, at most: of more, the likeliest
  const EVIDENCE = 112; // pixels of its picture's longer side, at least
  const SHADE = 0.4; // how much darker the evidence is under ink

  /** @param {Page} page @param {Run} run @param {HTMLElement} section */
  function answersRoom(page, run, section) {
    const { say, drawing } = page,
      { classes } = run.data;
    const name = make("b"),
      confidence = make("span"),
      next = make("span", { class: "live-quiet" }),
      bars = make("ol", { class: "live-bars" });
    /** @param {string} text */
    const wide = (text) => [...text].reduce((sum, letter) => sum + (letter > "\u1100" ? 1.9 : 1), 0.6);
    bars.style.setProperty("--live-name", `${Math.min(11, Math.max(...classes.map(wide)))}ch`);
    const rows = Array.from({ length: Math.min(BARS, classes.length) }, () => barOf(page, run));
    bars.append(...rows.map(({ row }) => row));
    run.view.refreshers.push(() => {
      const { probabilities, first, second } = run.answerer.last;
      name.textContent = drawing.empty ? "–" : classes[first];
      confidence.textContent = drawing.empty ? "" : chance(probabilities[first]);
      next.textContent = drawing.empty
        ? ""
        : say("runner", { name: classes[second], share: chance(probabilities[second]) });
      const order = classes.map((_, label) => label);
      if (classes.length > BARS) order.sort((a, b) => probabilities[b] - probabilities[a]);
      rows.forEach(({ show }, at) => show(order[at]));
    });
    section.append(
      heading(run.view.heads, say("answer")),
      make("p", { class: "live-big" }, name, confidence, next),
      PellucidNovelty.block(page, run),
      bars,
      quiet(say(page.columns ? "side.meant" : "answer.meant")),
      ...evidenceBlock(page, run),
      ...PellucidCounterfactual.block(page, run),
      ...(run.data.training_percentiles && !page.columns ? [PellucidUnusual.block(page, run)] : []),
    );
  }

  /** One class with its probability; pressed, it is what was meant. @param {Page} page @param {Run} run */
  function barOf(page, run) {
    const { drawing } = page,
      { classes } = run.data;
    const name = make("span", { class: "live-name" }),
      fill = make("span", { class: "live-fill" }),
      share = make("span", { class: "live-share" });
    let label = 0;
    const choose = () => {
      drawing.label = drawing.label === classes[label] ? null : classes[label];
      drawing.touched = true;
      page.changed();
      page.settle();
    };
    const track = make("span", { class: "live-track" }, fill);
    const press = make("button", { type: "button", onclick: choose }, name, track, share);
    const row = make("li", {}, press);
    /** @param {number} now */
    const show = (now) => {
      label = now;
      const { probabilities, first } = run.answerer.last;
      name.textContent = classes[label];
      fill.style.transform = `scaleX(${drawing.empty ? 0 : probabilities[label].toFixed(4)})`;
      share.textContent = drawing.empty ? "" : chance(probabilities[label]);
      row.className = !drawing.empty && label === first ? "live-first" : "";
      press.setAttribute("aria-pressed", String(drawing.label === classes[label]));
    };
    return { row, show };
  }

  /** @param {Page} page @param {Run} run */
  function evidenceBlock(page, run) {
    const layer = run.answerer.evidenceLayer,
      [, height, width] = run.shape,
      { say } = page,
      { classes } = run.data;
    if (!layer) return [];
    const zoom = Math.max(1, Math.ceil(EVIDENCE / Math.max(height, width)));
    const picture = { role: "img", "aria-label": say("evidence") };
    const canvas = make("canvas", { width: width * zoom, height: height * zoom, ...picture });
    const image = contextOf(canvas).createImageData(canvas.width, canvas.height);
    const { bar, low, high } = scaleBar(true),
      who = make("p"),
      total = quiet("");
    const { box, label } = checkbox(say("evidence.contrast"), (contrast) => {
      run.choices.contrast = contrast;
      page.changed();
    });
    run.view.refreshers.push(() => {
      const { evidence, scores, first, second } = run.answerer.last,
        { contrast } = run.choices;
      box.checked = contrast;
      if (!evidence) return;
      const reach = reachOf(evidence.cells);
      paintEvidence(run, evidence, image, reach);
      contextOf(canvas).putImageData(image, 0, 0);
      low.textContent = number(-reach);
      high.textContent = number(reach);
      const score = scores[first] - (contrast ? scores[second] : 0),
        names = { name: classes[first], other: classes[second] };
      who.textContent = say(contrast ? "evidence.against" : "evidence.for", names);
      const sums = { sum: number(evidence.sum), score: number(score), rest: number(score - evidence.sum) };
      total.textContent = reach === 0 ? say("evidence.none") : say("evidence.sum", sums);
    });
    const map = [
      who,
      make("div", { class: "live-frame" }, canvas),
      make("p", {}, bar),
      total,
      label,
      quiet(say("evidence.how", { layer: PellucidLayerNames.title(say, layer.name) })),
    ];
    const { outcome } = run.data.evidence,
      apart = outcome !== null && outcome !== "passed", // shown to whoever asks for it, and to nobody else
      shown = apart ? [make("details", {}, make("summary", {}, say("evidence.show")), ...map)] : map;
    const head = heading(run.view.heads, say("evidence"));
    return [make("div", { class: "live-block live-asked" }, head, testedLine(page, run), ...shown)];
  }

  /** How this kind of map fared in its tests on this network. @param {Page} page @param {Run} run */
  function testedLine({ say }, { data }) {
    const { outcome, passed } = data.evidence;
    if (outcome === null) return quiet(say("evidence.untested"));
    if (outcome === "passed") return quiet(say("evidence.passed"));
    const names = passed.map((name) => say(`method.${name}`)).join(", ");
    const known = names ? say("evidence.instead", { names }) : say("evidence.vain");
    return make("p", { class: "live-bad" }, `${say(`evidence.${outcome}`)} ${known}`);
  }

  /** The colours of the cells, darkened where the picture is bright.
   * @param {Run} run @param {Evidence} evidence @param {ImageData} image @param {number} reach */
  function paintEvidence({ shape: [channels, height, width], pixels }, evidence, image, reach) {
    const { cells, height: rows, width: columns } = evidence;
    const zoom = image.width / width,
      plane = height * width;
    for (let y = 0, at = 0; y < image.height; y++) {
      const row = Math.min(rows - 1, Math.floor((y * rows) / image.height)) * columns,
        line = Math.floor(y / zoom) * width;
      for (let x = 0; x < image.width; x++, at += 4) {
        const cell = cells[row + Math.min(columns - 1, Math.floor((x * columns) / image.width))];
        const colour = signedColour(cell, reach);
        const pixel = line + Math.floor(x / zoom);
        const ink =
          channels === 3 ? (pixels[pixel] + pixels[pixel + plane] + pixels[pixel + 2 * plane]) / 3 : pixels[pixel];
        const light = 1 - SHADE * (ink / 255);
        image.data[at] = (colour & 255) * light;
        image.data[at + 1] = ((colour >> 8) & 255) * light;
        image.data[at + 2] = ((colour >> 16) & 255) * light;
        image.data[at + 3] = 255;
      }
    }
  }

  return { answersRoom };
})();
