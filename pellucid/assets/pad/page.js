"use strict";
// The page around one drawing: its runs, a frame for every change, and what follows once a stroke has ended.
const PellucidPage = (() => {
  const { chance, number, sayer, whole } = PellucidFormatting;
  const { attempt, button, make, quiet } = PellucidParts;
  const FRAMES = 500; // whose times are kept
  const SETTLING = 120; // milliseconds without a change, after which the past is asked and the address written

  /** @typedef {(page: Page) => void} Layout  puts the parts of a page into its root */

  /**
   * Opens a page in `root`; `runs` are its networks, `layout` makes its parts, anew for every language.
   * @param {HTMLElement} root @param {PageData} data
   * @param {{runs: Run[], layout: Layout, columns?: boolean, readFile?: Page["readFile"]}} given
   */
  function mount(root, data, { runs, layout, columns = false, readFile = null }) {
    const drawing = new PellucidDrawing.Drawing(Boolean(runs[0].data.rule), runs.map((run) => run.choices));
    /** @type {Frame[]} */
    const frames = [];
    /** @param {string} language @returns {Page} */
    const build = (language) => {
      for (const run of runs) {
        clearInterval(run.view.player);
        run.view = freshView(columns ? ["h3", "h4"] : headsBelow());
      }
      root.replaceChildren();
      root.lang = language;
      const page = pageOf(root, { language, say: sayer(data.words[language]), drawing, runs, columns, readFile, frames });
      page.turn = () => {
        page.closed = true;
        now = build(language === "en" ? "ko" : "en");
      };
      if (document.getElementById("live-title")) document.documentElement.lang = language;
      layout(page);
      for (const run of runs) if (run.choices.chosen) PellucidChannel.open(page, run);
      frame(page);
      page.settle();
      return page;
    };
    let now = build(data.language);
    load(() => now, runs);
    restore(now, location.hash);
    listen(() => now);
    return {
      drawing,
      runs,
      frames,
      /** Whether a frame or what follows a change is still to come. */
      get settling() {
        return now.busy();
      },
    };
  }

  /** Headings below the page's own. @returns {[string, string]} */
  const headsBelow = () => (document.getElementById("live-title") ? ["h2", "h3"] : ["h3", "h4"]);

  /** @param {[string, string]} heads @returns {RunView} */
  const freshView = (heads) => ({
    root: make("section"),
    heads,
    refreshers: [],
    layers: [],
    panel: null,
    showField: () => {},
    reveal: () => {},
    showPast: () => {},
    pastFailed: () => {},
    failed: () => {},
    player: 0,
  });

  /**
   * A run before anything is drawn.
   * @param {RunData} run @param {Answerer} answerer @param {number} place @param {string} letter
   * @returns {Run}
   */
  function runOf({ name, model, accuracy, data }, answerer, place = 0, letter = "") {
    const snapshots = data.snapshots ? data.snapshots.count : 0,
      { shape } = data.program;
    const choices = PellucidDrawing.freshChoices(snapshots),
      pixels = new Uint8Array(PellucidOperations.size(shape));
    return {
      place, letter, name, model, accuracy, data, shape, snapshots, answerer, choices, pixels,
      asked: false, milliseconds: 0, check: null, pastAnswers: null, view: freshView(["h3", "h4"]),
    };
  }

  /** @param {HTMLElement} root @param {Pick<Page, "language" | "say" | "drawing" | "runs" | "columns" | "readFile" | "frames">} given
   * @returns {Page} */
  function pageOf(root, given) {
    let waiting = false,
      settling = 0;
    /** @type {Page} */
    const page = {
      root,
      ...given,
      heads: headsBelow(),
      refreshers: [],
      announcement: make("p", { class: "live-hidden", role: "status", "aria-live": "polite" }),
      showField: () => {},
      compared: () => {},
      turn: () => {},
      closed: false,
      busy: () => waiting || settling !== 0,
      changed() {
        if (waiting || page.closed) return;
        waiting = true;
        requestAnimationFrame(() => {
          waiting = false;
          if (!page.closed) frame(page);
        });
      },
      settle() {
        clearTimeout(settling);
        settling = setTimeout(() => {
          settling = 0;
          if (!page.closed) settled(page);
        }, SETTLING);
      },
    };
    return page;
  }

  /** Snapshots and test pictures are unpacked while the page is already open. @param {() => Page} current @param {Run[]} runs */
  function load(current, runs) {
    for (const run of runs) {
      run.answerer.load((error) => {
        const page = current();
        if (error) run.view.pastFailed(error);
        else {
          if (run.choices.chosen) PellucidChannel.open(page, run);
          page.changed();
          page.settle();
        }
      });
    }
  }

  /** Keys for snapshots, and addresses followed. @param {() => Page} current */
  function listen(current) {
    addEventListener("keydown", (event) => {
      const way = event.key === "[" ? -1 : event.key === "]" ? 1 : 0,
        page = current();
      if (!way || event.ctrlKey || event.metaKey || event.altKey) return;
      if (/** @type {Element} */ (event.target).closest("input:not([type=range]), textarea, select, dialog")) return;
      for (const run of page.runs) {
        const snapshot = run.choices.snapshot + way;
        if (snapshot >= 0 && snapshot <= run.snapshots) PellucidPast.go(page, run, snapshot);
      }
    });
    addEventListener("hashchange", () => restore(current(), location.hash));
  }

  /** Follows an address that is a drawing's, and brings it into sight. @param {Page} page @param {string} text */
  function restore(page, text) {
    if (!text.startsWith("#draw;")) return;
    const { drawing, runs } = page,
      test = PellucidAddress.restore(text, drawing, runs);
    drawing.touched = false;
    if (test !== null) fetchTest(page, test);
    for (const run of runs) {
      PellucidChannel.shut(run);
      if (run.choices.chosen) PellucidChannel.open(page, run);
    }
    frame(page);
    page.settle();
    if (!page.columns) page.root.scrollIntoView(); // "#draw" alone is the browser's business
  }

  /** A test picture that the report around this section holds. @param {Page} page @param {number} index */
  async function fetchTest(page, index) {
    const held = window.pellucidPictures,
      [run] = page.runs;
    if (!held || !held.fits(run.shape)) return;
    const pixels = await held.at(index, run.shape[0]);
    if (!pixels) return;
    const picture = PellucidPictures.pictureFrom(page.runs, run, pixels);
    page.drawing.start({ picture, label: run.data.classes[held.label(index)], test: index });
    page.changed();
    page.settle();
  }

  // --- one frame: place, ask, paint; torch's answers are painted as they come

  /** @param {Page} page */
  function frame(page) {
    const begun = performance.now();
    for (const run of page.runs) run.pixels = PellucidPictures.pixelsOf(page.drawing, page.runs, run);
    page.root.classList.toggle("live-empty", page.drawing.empty);
    const placed = performance.now();
    for (const run of page.runs) ask(page, run);
    const answered = performance.now();
    for (const refresh of page.refreshers) refresh();
    for (const run of page.runs) if (!run.asked) paint(run);
    page.compared();
    const done = performance.now();
    page.frames.push({ place: placed - begun, run: answered - placed, paint: done - answered, total: done - begun });
    if (page.frames.length > FRAMES) page.frames.shift();
  }

  /** What a run is asked now. @param {Run} run @returns {Question} */
  function questionOf({ pixels, choices: { snapshot, off, contrast, chosen }, snapshots }) {
    return { pixels, snapshot: snapshot < snapshots ? snapshot : null, off, contrast, chosen };
  }

  /** @param {Page} page @param {Run} run */
  function ask(page, run) {
    const begun = performance.now();
    let waits = false; // for an answer that does not come at once
    run.asked = true;
    run.answerer.ask(questionOf(run), (error) => {
      run.asked = false;
      run.milliseconds = performance.now() - begun;
      run.view.failed(error);
      if (!waits || error) return;
      paint(run);
      page.compared();
      page.settle();
    });
    waits = true;
  }

  /** @param {Run} run */
  function paint({ view }) {
    for (const refresh of view.refreshers) refresh();
    if (view.panel) for (const refresh of view.panel.refreshers) refresh();
  }

  // --- once a stroke has ended or something was chosen: the past, the address, the announcement

  /** @param {Page} page */
  function settled(page) {
    const { drawing, runs } = page;
    if (drawing.touched) {
      const text = PellucidAddress.address(drawing, runs);
      if (location.hash !== text) history.replaceState(null, "", text);
    }
    for (const run of runs) {
      if (run.snapshots) run.answerer.past(questionOf(run), (answers) => run.view.showPast(answers), run.view.failed);
    }
    if (drawing.empty || runs.some((run) => run.asked)) return;
    page.announcement.textContent = runs.map((run) => `${run.letter} ${announced(page.say, run)}`.trim()).join(" ");
  }

  /** @param {Say} say @param {Run} run */
  function announced(say, { data: { classes }, answerer }) {
    const { probabilities, first, second, novelty } = answerer.last;
    const answer = say("announce", {
      name: classes[first],
      share: chance(probabilities[first]),
      next: classes[second],
      nextShare: chance(probabilities[second]),
    });
    return `${answer} ${PellucidNovelty.inWords(say, novelty)}`.trim();
  }

  // --- a section of one run

  /** The drawing section: pad, past, layers and answer of one run. @type {Layout} */
  function sectionLayout(page) {
    const { say, root } = page,
      [run] = page.runs;
    const checked = quiet(say("checking")),
      title = document.getElementById("live-title"); // the page's own heading, where it is alone
    if (title) title.textContent = say("title");
    // a report around this section speaks one language
    const turn = title && button(say("language"), () => page.turn(), { lang: page.language === "en" ? "ko" : "en" });
    /** @param {string} name @param {(section: HTMLElement) => void} fill */
    const room = (name, fill) => {
      const section = make("section", { class: name });
      attempt(say, section, () => fill(section));
      return section;
    };
    root.append(
      make("div", { class: "live-status" }, checked, turn),
      page.announcement,
      make("p", { class: "live-printed" }, say("printed")),
      make(
        "div",
        { class: "live-rooms" },
        room("live-draw", (section) => PellucidPad.drawingRoom(page, section)),
        room("live-layers-room", (section) => PellucidLayers.layersRoom(page, run, section)),
        room("live-answers", (section) => PellucidAnswers.answersRoom(page, run, section)),
        room("live-time", (section) => PellucidPast.pastRoom(page, run, section)),
      ),
    );
    run.view.showField = (area) => page.showField(area);
    showCheck(page, run, checked);
  }

  /** Whether the run answers here as it did in PyTorch. @param {Page} page @param {Run} run @param {HTMLElement} line */
  function showCheck({ say }, run, line) {
    if (!run.check) return;
    const { check, weights } = run.data,
      { good, wrong, difference } = run.check;
    const values = { count: check.scores.length, difference: number(difference), tolerance: number(check.tolerance), wrong };
    line.className = good ? "live-quiet live-good" : "live-bad";
    line.textContent = `${say(good ? "check.good" : "check.bad", values)} `;
    const how = say("check.how", {
      precision: weights && weights.precision,
      sample_size: whole(check.sample_size),
      rounding: number(check.rounding),
      changed: whole(check.changed),
    });
    if (check.changed) line.textContent += how;
    else line.title = how;
  }

  /** The section of one run that the page itself runs. @param {HTMLElement} root @param {PageData} data @param {Page["readFile"]} readFile */
  function mountSection(root, data, readFile = null) {
    const engine = PellucidEngine.create(data.runs[0].data),
      run = runOf(data.runs[0], engine);
    run.check = engine.check();
    return mount(root, data, { runs: [run], layout: sectionLayout, readFile });
  }

  /** Why a network cannot be opened in the page. @param {HTMLElement} root @param {Say} say @param {string} refusal */
  function refuse(root, say, refusal) {
    root.replaceChildren(make("p", { class: "live-bad" }, say("refused")), make("p", {}, refusal), make("p", {}, say("serve")));
  }

  /** Runs what opens a page; what fails is written into its root. @param {HTMLElement} root @param {() => Promise<unknown>} opening */
  async function opened(root, opening) {
    try {
      window.pellucid = await opening();
    } catch (error) {
      root.append(make("p", { class: "live-bad" }, String(error)));
      throw error;
    }
  }

  return { mount, mountSection, opened, refuse, runOf, showCheck };
})();
