"use strict";
// The page that `pellucid live` serves: one pad, and every run beside the others with its own answer, evidence
// and layers. A single run that the page itself can run gets the whole drawing section.
const PellucidSide = (() => {
  const N = PellucidNetwork,
    D = PellucidDraw;
  const { choice, gray, make, percent, thumbnail } = PellucidParts;
  const { PENS, drawingRoom, empty, inputFrame, inputSize, pixelsOf, received_by, start } = PellucidPad;
  const { carried, layerFigure, layersRoom, openChannel } = PellucidLayers;
  const FAR = 0.2; // shares of one class that differ by more are marked
  const LETTERS = "ABC";

  async function begin(root) {
    const answer = await fetch("runs");
    if (!answer.ok) throw new Error(`runs: ${answer.status}`);
    const told = await answer.json();
    const kin = new WeakMap(); // a picture as the first run receives it -> as each run does
    const reads = async (file) => {
      if (file.size > 10_000_000) throw new Error("> 10 MB");
      const content = await PellucidTorch.post("picture", file, kindOf(file));
      const sizes = told.runs.map((run) => N.size(run.data.program.shape));
      let at = 0;
      const each = sizes.map((size) => {
        at += size;
        return new Uint8Array(content, at - size, size);
      });
      kin.set(each[0], each);
      return each[0];
    };
    if (told.runs.length === 1 && !told.runs[0].data.torch) {
      return PellucidLive.mount(root, { ...told.runs[0].data, language: told.language, words: told.words, reads });
    }
    return mount(root, told, kin, reads);
  }

  const kindOf = (file) =>
    ["image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp"].includes(file.type)
      ? file.type
      : "application/octet-stream";

  function mount(root, told, kin, reads) {
    let app = null;
    const build = (language) => {
      const kept = app;
      if (kept) {
        clearTimeout(kept.settling);
        for (const mine of kept.runs) clearInterval(mine.player);
      }
      root.replaceChildren();
      root.lang = language;
      app = page(root, told, kin, reads, language, () => build(language === "en" ? "ko" : "en"));
      if (kept) {
        for (const name of ["strokes", "picture", "example", "meantName", "pen", "placed", "tool", "touched", "undo"]) {
          app[name] = kept[name];
        }
        app.runs.forEach((mine, place) => {
          mine.snapshot = kept.runs[place].snapshot;
        });
      } else restore(app);
      frame(app);
      app.settle();
    };
    build(told.language);
    addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !["[", "]"].includes(event.key)) return;
      if (event.target.closest("input:not([type=range]), textarea, select, dialog")) return;
      for (const mine of app.runs) {
        const snapshot = mine.snapshot + (event.key === "[" ? -1 : 1);
        if (snapshot >= 0 && snapshot <= mine.count) PellucidLive.go(mine, snapshot);
      }
    });
    addEventListener("hashchange", () => {
      restore(app);
      app.changed();
    });
    return {
      get app() {
        return app;
      },
    };
  }

  // The pad and what all runs share. It has the face of a drawing section's app, whose network is the first run's.
  function page(root, told, kin, reads, language, turn) {
    const words = told.words[language],
      [lead] = told.runs;
    const say = (key, values = {}) =>
      (words[key] === undefined ? key : words[key]).replace(/\{(\w+)\}/g, (_, name) => values[name]);
    const app = {
      root,
      say,
      language,
      kin,
      data: { ...lead.data, reads, usual: null },
      shape: lead.data.program.shape,
      strokes: [],
      picture: null,
      example: null,
      meantName: null,
      tool: "pen",
      pen: "usual",
      placed: Boolean(lead.data.rule),
      heads: ["h2", "h3"],
      undo: [],
      refreshers: [],
      touched: false,
      frames: [],
      get meant() {
        return app.meantName;
      },
      set meant(label) {
        app.meantName = typeof label === "number" ? lead.data.classes[label] : label;
      },
    };
    app.changed = () => {
      if (app.waiting) return;
      app.waiting = true;
      requestAnimationFrame(() => {
        app.waiting = false;
        frame(app);
      });
    };
    app.settle = () => settle(app);
    app.act = (change) => {
      app.touched = true;
      app.undo.push({
        strokes: app.strokes,
        picture: app.picture,
        meant: app.meantName,
        example: app.example,
      });
      if (app.undo.length > 200) app.undo.shift();
      change();
      app.changed();
      app.settle();
    };
    document.documentElement.lang = language;
    document.title = say("title");
    document.getElementById("live-title").textContent = say("title");
    app.announce = make("p", { class: "live-hidden", role: "status", "aria-live": "polite" });
    app.verdict = make("div", { class: "side-verdict" });
    const drawing = make("section", { class: "side-draw" });
    const columns = make("div", { class: `side-runs ${told.runs.length === 1 ? "side-single" : ""}` });
    columns.style.setProperty("--runs", told.runs.length);
    const other = language === "en" ? "ko" : "en";
    root.append(
      make(
        "div",
        { class: "live-status" },
        make("p", { class: "live-quiet" }, say("side.here")),
        make("button", { type: "button", lang: other, onclick: turn }, say("language")),
      ),
      app.announce,
      make("div", { class: "side-rooms" }, drawing, make("div", { class: "side-answers" }, app.verdict, columns)),
    );
    attempt(app, drawing, () => drawingRoom(app, drawing));
    if (told.disputed) attempt(app, drawing, () => disputed(app, told, drawing));
    app.runs = told.runs.map((run, place) => {
      const section = make("section", { class: "side-run", "aria-label": run.name });
      columns.append(section);
      return column(app, run, place, told.runs.length, section);
    });
    return app;
  }

  // Test pictures that are answered differently, to start from.
  function disputed(app, { disputed: found, runs }, section) {
    const { classes } = app.data,
      each = N.size(app.shape),
      bytes = N.bytesOf(found.pictures);
    const values = { differ: found.differ, looked: found.looked };
    const block = make(
      "div",
      { class: "live-block" },
      make("h3", { class: "live-subhead" }, app.say(found.differ ? "side.disputed" : "side.undisputed", values)),
    );
    const buttons = found.labels.map((label, place) => {
      const pixels = bytes.subarray(place * each, (place + 1) * each);
      const answers = runs.map((_, run) => `${LETTERS[run]} ${classes[found.answers[place][run]]}`).join(", ");
      const says = app.say("side.disputed.one", { label: classes[label], answers });
      return make(
        "button",
        { type: "button", title: says, onclick: () => app.act(() => start(app, pixels, label)) },
        thumbnail(app, pixels, says),
      );
    });
    block.append(make("div", { class: "live-thumbs" }, ...buttons));
    section.append(block);
  }

  // A part that fails says so in its place, and the others work.
  function attempt(app, section, fill) {
    try {
      fill();
    } catch (error) {
      section.append(make("p", { class: "live-bad" }, app.say("failed", { error: String(error) })));
    }
  }

  // --- one run

  function column(app, run, place, count, section) {
    const { data } = run,
      own = Boolean(data.torch);
    const mine = {
      run,
      place,
      letter: count > 1 ? LETTERS[place] : "",
      root: section,
      data: { ...data, usual: null },
      say: (key, values) => app.say(key === "answer.meant" ? "side.meant" : key, values),
      language: app.language,
      shape: data.program.shape,
      scale: "layer",
      off: new Map(),
      chosen: null,
      contrast: false,
      heads: ["h3", "h4"],
      count: data.snapshots ? data.snapshots.count : 0,
      snapshot: data.snapshots ? data.snapshots.count : 0,
      past: null,
      weightsAt: null,
      remembered: new Map(),
      refreshers: [],
      panelRefreshers: [],
      views: [],
      pool: null,
      frames: [],
      touched: false,
      act: (change) => app.act(change),
      changed: () => app.changed(),
      settle: () => app.settle(),
    };
    shared(app, mine);
    mine.weights = own ? null : N.unpack(data.weights, data.program.tensors);
    mine.net = own ? PellucidTorch.create(place, data.torch, data) : N.create(data.program, mine.weights);
    mine.tables = own ? mine.net.tables : carried(mine);
    mine.askPast = own
      ? (done) => mine.net.past(mine).then(done, (error) => failed(mine, error))
      : (done) => mine.past && done(PellucidLive.pastOf(mine));
    mine.think = own ? () => ask(app, mine) : () => runHere(mine);
    mine.pixels = pixelsOf(mine);
    blank(mine);
    mine.note = make("p", { class: "live-quiet" });
    mine.failed = make("p", { class: "live-bad", role: "alert", hidden: true });
    const title = make("header", { class: "side-head" });
    title.append(
      ...(mine.letter ? [make("span", { class: "side-letter", "aria-hidden": "true" }, mine.letter)] : []),
      make(
        "div",
        {},
        make("h2", {}, run.name),
        make(
          "p",
          { class: "live-quiet" },
          run.accuracy === null
            ? run.model
            : app.say("side.model", { model: run.model, share: percent(run.accuracy) }),
        ),
      ),
    );
    const told = make("div", {}, mine.note, mine.failed);
    section.append(title, told);
    if (own) mine.note.textContent = app.say("side.torch");
    else attempt(app, section, () => PellucidLive.check(mine, mine.note));
    if (own && data.torch.reason) mine.note.title = data.torch.reason;
    const answers = make("section", { class: "live-answers" }),
      time = make("section", { class: "live-time" }),
      layers = make("section", { class: "live-layers-room" });
    section.append(answers, time, layers);
    attempt(app, told, () => receives(app, mine, told));
    attempt(app, answers, () => {
      PellucidLive.answersRoom(mine, answers);
    });
    mine.bars = [...answers.querySelectorAll(".live-bars > li")];
    attempt(app, time, () => PellucidLive.timeRoom(mine, time));
    attempt(app, layers, () => (own ? remoteLayers(mine, layers) : layersRoom(mine, layers)));
    if (!own) {
      loadPool(mine);
      PellucidLive.loadPast(mine);
    }
    return mine;
  }

  // What belongs to the drawing is the pad's; pictures are kept as each run receives them.
  function shared(app, mine) {
    for (const name of ["strokes", "example", "pen"]) {
      Object.defineProperty(mine, name, {
        get: () => app[name],
        set: (value) => {
          app[name] = value;
        },
      });
    }
    Object.defineProperty(mine, "placed", { get: () => app.placed && Boolean(mine.data.rule) });
    Object.defineProperty(mine, "meant", {
      get: () => {
        const label = mine.data.classes.indexOf(app.meantName);
        return label < 0 ? null : label;
      },
      set: (label) => {
        app.meantName = label === null ? null : mine.data.classes[label];
      },
    });
    Object.defineProperty(mine, "picture", {
      get: () => (app.picture ? kinOf(app, app.picture)(mine.place) : null),
      set: (pixels) => {
        app.picture = pixels === null ? null : fitted(mine.shape, app, pixels);
        if (pixels !== null) kinOf(app, app.picture)(mine.place, pixels);
      },
    });
  }

  function kinOf(app, picture) {
    if (!app.kin.has(picture)) app.kin.set(picture, [picture]);
    const all = app.kin.get(picture);
    return (place, pixels) => {
      if (pixels) all[place] = pixels;
      if (!all[place]) all[place] = fitted(app.shape, app.runs[place], picture);
      return all[place];
    };
  }

  // Pixels of one run's shape as another receives them.
  function fitted([channels, height, width], app, pixels) {
    if (app.shape[0] === channels && app.shape[1] === height && app.shape[2] === width) return pixels;
    return received_by(app, gray(pixels, height, width, channels).data, height, width);
  }

  function blank(mine) {
    mine.shares = new Float64Array(mine.data.classes.length).fill(1 / mine.data.classes.length);
    [mine.first, mine.second] = [0, 1];
    const layer = N.evidenceLayer(mine.net);
    mine.evidence = layer && { layer, cells: new Float32Array(1), height: 1, width: 1, sum: 0 };
  }

  // Its own little picture, where it is not the one under the pad.
  function receives(app, mine, section) {
    const same = mine.shape.every((side, axis) => side === app.shape[axis]);
    const alike = same && JSON.stringify(mine.data.rule) === JSON.stringify(app.data.rule);
    if (alike) {
      mine.showField = (area) => app.showField(area);
      return;
    }
    section.append(
      make(
        "figure",
        { class: "side-receives" },
        inputFrame(mine),
        make("figcaption", { class: "live-quiet" }, `${mine.say("receives")}: ${inputSize(mine)}`),
      ),
    );
  }

  // Only what is open is asked for.
  function remoteLayers(mine, section) {
    section.append(
      make("h3", { class: "live-head" }, mine.say("layers")),
      make("div", { class: "live-tools" }, choice(mine, "scale", ["layer", "channel", "fixed"], "scale")),
    );
    const counting = make("p", { class: "live-quiet", role: "status", hidden: true }, mine.say("counting"));
    section.append(counting);
    mine.refreshers.push(() => scalesOf(mine, counting));
    const bodies = [];
    mine.reveal = (layer) => {
      const body = bodies[layer.value];
      body.open = true;
      body.scrollIntoView({ block: "nearest" });
      body.querySelector("summary").focus();
    };
    const { layers } = mine.net,
      first = layers.findIndex((layer) => layer.shape.length === 3);
    layers.forEach((layer, place) => {
      const [channels, height = 1, width = 1] = layer.whole;
      const kind =
        layer.whole.length === 1
          ? mine.say("layer.units", { channels })
          : mine.say("layer.maps", { channels, height, width });
      const body = make(
        "details",
        { class: "side-layer" },
        make("summary", {}, make("b", {}, layer.name), make("span", { class: "live-quiet" }, kind)),
      );
      bodies.push(body);
      const less = layer.whole.some((side, axis) => side !== layer.shape[axis]);
      const show = () => {
        if (body.childElementCount === 1) {
          body.append(layerFigure(mine, layer));
          if (less) body.append(make("p", { class: "live-quiet" }, mine.say("side.less")));
        }
      };
      body.addEventListener("toggle", () => {
        if (body.open) {
          mine.net.open.add(place);
          show();
        } else mine.net.open.delete(place);
        mine.changed();
      });
      if (place === first || layer === mine.net.evidenceAt) {
        body.open = true;
        mine.net.open.add(place);
        show();
      }
      section.append(body);
    });
    section.append(make("p", { class: "live-quiet" }, mine.say("layer.hint")));
  }

  // The scale over all test pictures is counted once it is wanted.
  async function scalesOf(mine, counting) {
    if (mine.scale !== "fixed" || mine.scalesAsked) return;
    mine.scalesAsked = true;
    counting.hidden = false;
    try {
      mine.data.scales = await mine.net.scales();
      for (const refresh of mine.refreshers) refresh();
    } catch (error) {
      mine.scalesAsked = false;
      mine.scale = "layer";
      failed(mine, error);
    }
    counting.hidden = true;
  }

  async function loadPool(mine) {
    const { pool } = mine.data;
    if (!pool) return;
    const bytes = await N.inflate(pool.data),
      each = N.size(mine.shape);
    mine.pool = { count: pool.count, at: (place) => bytes.subarray(place * each, (place + 1) * each) };
    if (mine.chosen) openChannel(mine);
  }

  // --- one frame: each run in turn, torch's as they come

  function frame(app) {
    const begun = performance.now();
    app.pixels = pixelsOf(app);
    app.root.classList.toggle("live-empty", empty(app));
    for (const refresh of app.refreshers) refresh();
    for (const mine of app.runs) {
      mine.pixels = pixelsOf(mine);
      mine.think();
    }
    compare(app);
    app.frames.push(performance.now() - begun);
    if (app.frames.length > 500) app.frames.shift();
  }

  function runHere(mine) {
    PellucidLive.run(mine);
    PellucidLive.explain(mine);
    paint(mine);
  }

  function ask(app, mine) {
    const begun = performance.now();
    mine.asked = true;
    const { pixels, contrast, off, chosen } = mine,
      snapshot = mine.snapshot < mine.count ? mine.snapshot : null;
    mine.net.ask({ pixels, contrast, off, chosen, snapshot }, (error) => {
      mine.asked = false;
      mine.failed.hidden = !error;
      if (error) {
        failed(mine, error);
        return;
      }
      mine.trip = performance.now() - begun;
      mine.note.textContent = app.say("side.took", {
        torch: Math.round(mine.net.milliseconds),
        trip: Math.round(mine.trip),
      });
      PellucidLive.judged(mine);
      if (mine.net.evidence) mine.evidence = mine.net.evidence;
      paint(mine);
      compare(app);
      app.settle();
    });
  }

  function failed(mine, error) {
    mine.failed.hidden = false;
    mine.failed.textContent = mine.say("side.failed", { error: error.message });
  }

  function paint(mine) {
    for (const refresh of mine.refreshers) refresh();
    for (const refresh of mine.panelRefreshers) refresh();
  }

  // --- where they agree and where they do not

  function compare(app) {
    const { runs } = app;
    app.verdict.hidden = runs.length < 2;
    if (runs.length < 2) return;
    const nothing = empty(app);
    const answers = runs.map((mine) => mine.data.classes[mine.first]);
    const agree = answers.every((name) => name === answers[0]);
    const apart = nothing ? null : farthest(runs);
    app.verdict.classList.toggle("side-apart", !nothing && !agree);
    app.verdict.replaceChildren(...said(app, answers, agree, apart, nothing));
    for (const mine of runs) {
      mine.root.classList.toggle("side-alone", !nothing && !agree && isOdd(app, answers, mine.place));
      mark(mine, runs, nothing);
    }
    app.agree = agree;
    app.apart = apart;
  }

  // Whether this run's answer is wrong, or where nobody knows what was meant, not that of most.
  function isOdd(app, answers, place) {
    if (app.meantName !== null) return answers[place] !== app.meantName;
    const votes = answers.filter((name) => name === answers[place]).length;
    return votes <= answers.length - votes;
  }

  function said(app, answers, agree, apart, nothing) {
    if (nothing) return [make("p", { class: "live-quiet" }, app.say("side.draw"))];
    const names = app.runs.map((mine) =>
      app.say("side.says", {
        run: mine.letter,
        name: mine.data.classes[mine.first],
        share: percent(mine.shares[mine.first]),
      }),
    );
    const lines = [
      make("p", {}, make("b", {}, agree ? app.say("side.agree", { name: answers[0] }) : app.say("side.disagree")), " ", names.join(" · ")),
    ];
    if (apart && apart.distance >= 0.005 && !(agree && apart.name === answers[0])) {
      const shares = app.runs.map((mine, place) => `${mine.letter} ${apart.shares[place] === null ? "–" : percent(apart.shares[place])}`);
      lines.push(make("p", { class: "live-quiet" }, app.say("side.farthest", { name: apart.name, shares: shares.join(", ") })));
    }
    return lines;
  }

  const shareOf = (mine, name) => {
    const label = mine.data.classes.indexOf(name);
    return label < 0 ? null : mine.shares[label];
  };

  // The class whose shares lie farthest apart.
  function farthest(runs) {
    let found = null;
    for (const name of new Set(runs.flatMap((mine) => mine.data.classes))) {
      const shares = runs.map((mine) => shareOf(mine, name));
      const known = shares.filter((share) => share !== null);
      const distance = Math.max(...known) - Math.min(...known);
      if (known.length > 1 && (!found || distance > found.distance)) found = { name, shares, distance };
    }
    return found;
  }

  function mark(mine, runs, nothing) {
    for (const row of mine.bars) {
      const name = row.querySelector(".live-name").textContent;
      const shares = runs.map((each) => shareOf(each, name)).filter((share) => share !== null);
      const far = !nothing && shares.length > 1 && Math.max(...shares) - Math.min(...shares) > FAR;
      row.classList.toggle("side-far", far);
    }
  }

  // --- after a stroke: the address, the announcement

  function settle(app) {
    clearTimeout(app.settling);
    app.settling = setTimeout(() => {
      app.settling = null;
      if (app.touched) remember(app);
      for (const mine of app.runs) if (mine.count) PellucidLive.askPast(mine);
      if (empty(app) || app.runs.some((mine) => mine.asked)) return;
      app.announce.textContent = app.runs
        .map((mine) =>
          `${mine.letter} ${app.say("said", {
            name: mine.data.classes[mine.first],
            share: percent(mine.shares[mine.first]),
            next: mine.data.classes[mine.second],
            nextShare: percent(mine.shares[mine.second]),
          })}`.trim(),
        )
        .join(" ");
    }, 150);
  }

  // #draw;s=strokes;e=example;w=class meant, of the first run;p=pen;f=1 (free);m=snapshot of each run
  function remember(app) {
    const parts = ["#draw"];
    const meant = app.data.classes.indexOf(app.meantName);
    if (app.strokes.length && !app.picture) parts.push(`s=${D.toText(app.strokes)}`);
    if (app.example !== null) parts.push(`e=${app.example}`);
    if (meant >= 0 && app.example === null) parts.push(`w=${meant}`);
    if (app.pen !== "usual") parts.push(`p=${app.pen}`);
    if (app.data.rule && !app.placed) parts.push("f=1");
    if (app.runs.some((mine) => mine.snapshot < mine.count)) {
      parts.push(`m=${app.runs.map((mine) => mine.snapshot).join(",")}`);
    }
    if (location.hash !== parts.join(";")) history.replaceState(null, "", parts.join(";"));
  }

  function restore(app) {
    if (!location.hash.startsWith("#draw;")) return;
    const parts = Object.fromEntries(
      location.hash
        .slice(6)
        .split(";")
        .map((part) => [part.slice(0, 1), part.slice(2)]),
    );
    const integer = (value, limit) =>
      /^\d{1,6}$/.test(value || "") && Number(value) < limit ? Number(value) : null;
    const { check, classes } = app.data,
      each = N.size(app.shape);
    const example = check.labels ? integer(parts.e, check.labels.length) : null;
    start(app, null, integer(parts.w, classes.length));
    if (example !== null) {
      const pixels = N.bytesOf(check.pictures).subarray(example * each, (example + 1) * each);
      start(app, pixels, check.labels[example], example);
    } else if (parts.s) app.strokes = D.fromText(parts.s);
    const snapshots = (parts.m || "").split(",");
    app.runs.forEach((mine, place) => {
      const snapshot = integer(snapshots[place], mine.count);
      mine.snapshot = snapshot === null ? mine.count : snapshot;
    });
    app.pen = Object.hasOwn(PENS, parts.p || "") ? parts.p : "usual";
    app.placed = Boolean(app.data.rule) && parts.f !== "1";
  }

  return { begin };
})();

(async () => {
  const root = document.getElementById("served");
  if (!root) return;
  try {
    window.pellucid = await PellucidSide.begin(root);
  } catch (error) {
    const note = document.createElement("p");
    note.className = "live-bad";
    note.textContent = String(error);
    root.append(note);
    throw error;
  }
})();
