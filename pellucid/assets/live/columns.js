"use strict";
// The page that `pellucid live` serves: one pad, and every run beside the others with its own answer, evidence and
// layers. A single run that the page itself can run gets the whole drawing section.
const PellucidColumns = (() => {
  const { percent } = PellucidFormatting;
  const { attempt, button, heading, make, pressable, quiet } = PellucidParts;
  const { size } = PellucidOperations;
  const LETTERS = "ABC";
  const KINDS = ["image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp"];

  /** Asks the server what it serves, and opens it. @param {HTMLElement} root */
  async function begin(root) {
    const answer = await fetch("runs");
    if (!answer.ok) throw new Error(`runs: ${answer.status}`);
    /** @type {PageData} */
    const data = await answer.json();
    const readFile = (/** @type {File} */ file) => readThere(file, data);
    if (data.runs.length === 1 && !data.runs[0].data.torch) return PellucidPage.mountSection(root, data, readFile);
    const runs = data.runs.map((run, place) => {
      const letter = data.runs.length > 1 ? LETTERS[place] : "";
      if (run.data.torch) return PellucidPage.runOf(run, PellucidTorch.create(place, run.data, run.data.torch), place, letter);
      const engine = PellucidEngine.create(run.data),
        made = PellucidPage.runOf(run, engine, place, letter);
      made.check = engine.check();
      return made;
    });
    return PellucidPage.mount(root, data, { runs, layout: (page) => layout(page, data), columns: true, readFile });
  }

  /** A picture file as each run's own Preprocess reads it. @param {File} file @param {PageData} data
   * @returns {Promise<Picture>} */
  async function readThere(file, { runs }) {
    const most = PellucidConstants.live.largest_file;
    if (file.size > most) throw new Error(`> ${most / 1e6} MB`);
    const kind = KINDS.includes(file.type) ? file.type : undefined;
    const content = /** @type {ArrayBuffer} */ (await PellucidTorch.post("picture", file, kind));
    let at = 0;
    const pixels = runs.map(({ data }) => {
      const count = size(data.program.shape);
      at += count;
      return new Uint8Array(content, at - count, count);
    });
    return { pixels };
  }

  /** @param {Page} page @param {PageData} data */
  function layout(page, { disputed }) {
    const { say, root, runs } = page;
    document.title = say("title");
    const title = document.getElementById("live-title");
    if (title) title.textContent = say("title");
    const verdict = make("div", { class: "side-verdict" }),
      drawing = make("section", { class: "side-draw" });
    const columns = make("div", { class: `side-runs ${runs.length === 1 ? "side-single" : ""}` });
    columns.style.setProperty("--runs", String(runs.length));
    const turn = button(say("language"), () => page.turn(), { lang: page.language === "en" ? "ko" : "en" });
    root.append(
      make("div", { class: "live-status" }, quiet(say("side.here")), turn),
      page.announcement,
      make("div", { class: "side-rooms" }, drawing, make("div", { class: "side-answers" }, verdict, columns)),
    );
    attempt(say, drawing, () => PellucidPad.drawingRoom(page, drawing));
    if (disputed) attempt(say, drawing, () => drawing.append(disputedBlock(page, disputed)));
    columns.append(...runs.map((run) => column(page, run)));
    page.compared = () => PellucidVerdict.compare(page, verdict);
  }

  /** Test pictures that are answered differently, to start from. @param {Page} page @param {DisputedData} disputed */
  function disputedBlock(page, { disagreements, sample_size: count, pictures, labels, answers }) {
    const { say, runs } = page,
      [{ shape, data }] = runs,
      { classes } = data;
    const buttons = labels.map((label, at) => {
      const pixels = PellucidPictures.pictureAt(pictures, shape, at);
      const each = runs.map(({ letter, place }) => `${letter} ${classes[answers[at][place]]}`).join(", ");
      const says = say("side.disputed.one", { label: classes[label], answers: each });
      const picture = PellucidPictures.pictureFrom(runs, runs[0], pixels);
      const begin = () => PellucidPad.act(page, () => page.drawing.start({ picture, label: classes[label] }));
      return pressable(pixels, shape, says, begin);
    });
    const title = heading(page.heads, say(disagreements ? "side.disputed" : "side.undisputed", { disagreements, sample_size: count }), true);
    return make("div", { class: "live-block" }, title, make("div", { class: "live-thumbs" }, ...buttons));
  }

  // --- one run

  /** @param {Page} page @param {Run} run */
  function column(page, run) {
    const { say } = page,
      { torch } = run.data;
    const section = make("section", { class: "side-run", "aria-label": run.name });
    run.view.root = section;
    const note = quiet(torch ? say("side.torch") : ""),
      failed = make("p", { class: "live-bad", role: "alert", hidden: true });
    run.view.failed = (error) => {
      failed.hidden = !error;
      if (error) failed.textContent = say("side.failed", { error: error.message });
    };
    const facts = make("div", {}, note, failed);
    section.append(titleOf(say, run), facts);
    if (!torch) PellucidPage.showCheck(page, run, note);
    else if (torch.reason) note.title = torch.reason;
    const answers = make("section", { class: "live-answers" }),
      time = make("section", { class: "live-time" }),
      layers = make("section", { class: "live-layers-room" });
    section.append(answers, time, layers);
    attempt(say, facts, () => receives(page, run, facts));
    attempt(say, answers, () => PellucidAnswers.answersRoom(page, run, answers));
    attempt(say, time, () => PellucidPast.pastRoom(page, run, time));
    attempt(say, layers, () =>
      run.answerer.open ? closedLayers(page, run, run.answerer.open, layers) : PellucidLayers.layersRoom(page, run, layers),
    );
    if (torch) showTrip(page, run, note);
    return section;
  }

  /** @param {Say} say @param {Run} run */
  function titleOf(say, { letter, name, model, accuracy }) {
    const mark = letter ? make("span", { class: "side-letter", "aria-hidden": "true" }, letter) : null;
    const facts = accuracy === null ? model : say("side.model", { model, share: percent(accuracy) });
    return make("header", { class: "side-head" }, mark, make("div", {}, make("h2", {}, name), quiet(facts)));
  }

  /** How long torch took, and the way there and back. @param {Page} page @param {Run} run @param {HTMLElement} note */
  function showTrip({ say }, run, note) {
    run.view.refreshers.push(() => {
      const { milliseconds } = run.answerer.last;
      if (milliseconds === null) return;
      note.textContent = say("side.took", { torch: Math.round(milliseconds), trip: Math.round(run.milliseconds) });
    });
  }

  /** Its own little picture, where it is not the one under the pad.
   * @param {Page} page @param {Run} run @param {HTMLElement} section */
  function receives(page, run, section) {
    const [first] = page.runs;
    const same = run.shape.every((side, axis) => side === first.shape[axis]);
    if (same && JSON.stringify(run.data.rule) === JSON.stringify(first.data.rule)) {
      run.view.showField = (area) => page.showField(area);
      return;
    }
    const { frame, showField } = PellucidPad.inputFrame(page.say, run, run.view.refreshers);
    run.view.showField = showField;
    const caption = `${page.say("receives")}: ${PellucidPad.inputSize(page.say, run)}`;
    section.append(make("figure", { class: "side-receives" }, frame, make("figcaption", { class: "live-quiet" }, caption)));
  }

  /** Layers to open one by one: only what is open is asked for.
   * @param {Page} page @param {Run} run @param {Set<number>} open @param {HTMLElement} section */
  function closedLayers(page, run, open, section) {
    const { say } = page,
      { layers, evidenceLayer } = run.answerer;
    const counting = quiet(say("counting"), { role: "status", hidden: true });
    section.append(heading(run.view.heads, say("layers")), PellucidLayers.scaleChoice(page, run), counting);
    run.view.refreshers.push(() => countScales(run, counting));
    if (!open.size) {
      const first = layers.find(({ shape }) => shape.length === 3);
      for (const layer of [first, evidenceLayer]) if (layer) open.add(layer.value);
    }
    const bodies = layers.map((layer) => closedLayer(page, run, open, layer));
    run.view.reveal = ({ value }) => {
      const body = bodies[value];
      body.open = true;
      body.scrollIntoView({ block: "nearest" });
      const summary = body.querySelector("summary");
      if (summary) summary.focus();
    };
    section.append(...PellucidLayers.folded(page, run, layers, ({ value }) => bodies[value]), quiet(say("layer.hint")));
  }

  /** @param {Page} page @param {Run} run @param {Set<number>} open @param {Layer} layer */
  function closedLayer(page, run, open, layer) {
    const kind = make("span", { class: "live-quiet" }, PellucidLayers.kindOf(page.say, layer.whole));
    const body = make("details", { class: "side-layer" }, make("summary", {}, make("b", { title: layer.name }, PellucidLayerNames.title(page.say, layer.name)), kind));
    const less = layer.whole.some((side, axis) => side !== layer.shape[axis]);
    const fill = () => {
      if (body.childElementCount > 1) return;
      body.append(PellucidLayers.layerFigure(page, run, layer));
      if (less) body.append(quiet(page.say("side.less")));
    };
    if (open.has(layer.value)) {
      body.open = true;
      fill();
    }
    body.addEventListener("toggle", () => {
      if (body.open) {
        open.add(layer.value);
        fill();
      } else open.delete(layer.value);
      page.changed();
    });
    return body;
  }

  /** The scale over all test pictures is counted once it is wanted. @param {Run} run @param {HTMLElement} counting */
  async function countScales(run, counting) {
    const wanted = run.choices.scale === "fixed" && counting.hidden && !Object.keys(run.data.scales).length;
    if (!wanted) return;
    counting.hidden = false;
    try {
      run.data.scales = await run.answerer.scales();
      for (const refresh of run.view.refreshers) refresh();
    } catch (error) {
      run.choices.scale = "layer";
      run.view.failed(/** @type {Error} */ (error));
    }
    counting.hidden = true;
  }

  return { begin };
})();
