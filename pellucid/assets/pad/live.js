"use strict";
// The drawing section: a pad, what the network receives, every layer, the answer, and the run's past.
// Everything is computed here, from the weights inside the page; one drawing is one pass within a frame.
const PellucidLive = (() => {
  const N = PellucidNetwork,
    D = PellucidDraw;
  const { COLOURS, argmax, make, number, percent, scaled, whole } = PellucidParts;
  const { PENS, dataName, drawingRoom, empty, pixelsOf, start } = PellucidPad;
  const { carried, layersRoom, openChannel } = PellucidLayers;
  const SHOWN_BARS = 10;

  // --- the section

  function mount(root, data) {
    let app = null;
    const build = (language) => {
      const kept = app ? { address: address(app), touched: app.touched } : null;
      if (app) {
        clearInterval(app.player);
        clearTimeout(app.settling);
      }
      root.replaceChildren();
      root.lang = language;
      const words = data.words[language];
      const say = (key, values = {}) =>
        (words[key] === undefined ? key : words[key]).replace(/\{(\w+)\}/g, (_, name) => values[name]);
      if (data.refusal) {
        root.append(
          make("p", { class: "live-bad" }, say("refused")),
          make("p", {}, data.refusal),
          make("p", {}, say("serve")),
        );
        return;
      }
      app = begin(root, data, say, language, () => build(language === "en" ? "ko" : "en"));
      restore(app, kept ? kept.address : location.hash);
      app.touched = Boolean(kept && kept.touched);
    };
    build(data.language);
    addEventListener("keydown", (event) => {
      if (!app || !app.count || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.closest("input:not([type=range]), textarea, select, dialog")) return;
      if (event.key === "[") go(app, Math.max(0, app.snapshot - 1));
      else if (event.key === "]") go(app, Math.min(app.count, app.snapshot + 1));
    });
    if (app && location.hash.startsWith("#draw;")) root.scrollIntoView();
    addEventListener("hashchange", () => {
      if (!app || !location.hash.startsWith("#draw")) return;
      restore(app, location.hash);
      if (location.hash !== "#draw") root.scrollIntoView(); // the section's own place is the browser's business
    });
    return {
      get app() {
        return app;
      },
    };
  }

  function begin(root, data, say, language, turn) {
    const shapes = data.program.tensors,
      shape = data.program.shape;
    const weights = N.unpack(data.weights, shapes);
    const app = {
      root,
      data,
      say,
      language,
      shape,
      weights,
      net: N.create(data.program, weights),
      past: null,
      weightsAt: null,
      remembered: new Map(),
      pool: null,
      strokes: [],
      picture: null,
      meant: null,
      example: null,
      test: null,
      tool: "pen",
      pen: "usual",
      placed: Boolean(data.rule),
      scale: "layer",
      off: new Map(),
      chosen: null,
      contrast: false,
      heads: document.getElementById("live-title") ? ["h2", "h3"] : ["h3", "h4"], // below the page's own heading
      count: data.snapshots ? data.snapshots.count : 0,
      snapshot: data.snapshots ? data.snapshots.count : 0,
      undo: [],
      waiting: false,
      frames: [],
      touched: false,
      refreshers: [],
      panelRefreshers: [],
      views: [],
    };
    app.changed = () => changed(app);
    app.settle = () => settle(app);
    app.act = (change) => act(app, change);
    app.tables = carried(app);
    app.askPast = (done) => done(pastOf(app));
    const title = document.getElementById("live-title"); // the page's own heading, where it is alone
    if (title) {
      title.textContent = say("title");
      document.documentElement.lang = language;
    }
    const checked = make("p", { class: "live-quiet" }, say("checking"));
    app.announce = make("p", { class: "live-hidden", role: "status", "aria-live": "polite" });
    root.append(
      make(
        "div",
        { class: "live-status" },
        checked,
        title && // a report around this section speaks one language
          make(
            "button",
            { type: "button", lang: language === "en" ? "ko" : "en", onclick: turn },
            say("language"),
          ),
      ),
      app.announce,
      make("p", { class: "live-printed" }, say("printed")),
      make(
        "div",
        { class: "live-rooms" },
        room(app, "live-draw", drawingRoom),
        room(app, "live-layers-room", layersRoom),
        room(app, "live-answers", answersRoom),
        room(app, "live-time", timeRoom),
      ),
    );
    check(app, checked);
    warm(app);
    loadPast(app);
    loadPool(app);
    return app;
  }

  // A part that fails says so in its place, and the others work.
  function room(app, name, fill) {
    const section = make("section", { class: name });
    try {
      fill(app, section);
    } catch (error) {
      section.append(make("p", { class: "live-bad" }, app.say("failed", { error: String(error) })));
    }
    return section;
  }

  function check(app, line) {
    const { check: known } = app.data,
      bytes = N.bytesOf(known.pictures),
      each = N.size(app.shape);
    let difference = 0,
      wrong = 0;
    known.scores.forEach((scores, place) => {
      const found = app.net.run(scaled(bytes.subarray(place * each, (place + 1) * each)));
      scores.forEach((score, label) => {
        difference = Math.max(difference, Math.abs(score - found[label]));
      });
      if (argmax(found) !== argmax(scores)) wrong += 1;
    });
    const good = !wrong && difference <= known.tolerance;
    const values = {
      count: known.scores.length,
      difference: number(difference),
      tolerance: number(known.tolerance),
      wrong,
    };
    line.className = good ? "live-quiet live-good" : "live-bad";
    line.textContent = `${app.say(good ? "check.good" : "check.bad", values)} `;
    line.title = app.say("check.how", {
      precision: app.data.weights.precision,
      looked: whole(known.looked),
      rounding: number(known.rounding),
    });
    app.checked = { difference, wrong, good };
  }

  function warm(app) {
    // the first passes are slow: they are not a person's
    const blank = new Float32Array(N.size(app.shape)).fill(0.3);
    for (let turn = 0; turn < 12; turn++) {
      app.net.run(blank);
      N.evidence(app.net, new Float32Array(app.data.classes.length).fill(1));
    }
  }

  async function loadPast(app) {
    if (!app.data.snapshots) return;
    try {
      app.weightsAt = await N.snapshots(app.data.snapshots, app.data.program.tensors);
      app.past = N.create(app.data.program, app.weights);
      app.settle();
      if (app.snapshot < app.count) app.changed();
    } catch (error) {
      app.timeNote.textContent = app.say("failed", { error: String(error) });
    }
  }

  async function loadPool(app) {
    const { pool } = app.data;
    if (!pool) return;
    const bytes = await N.inflate(pool.data),
      each = N.size(app.shape);
    app.pool = { count: pool.count, at: (place) => bytes.subarray(place * each, (place + 1) * each) };
    if (app.chosen) openChannel(app);
  }

  function weightsOf(app, snapshot) {
    if (snapshot >= app.count) return app.weights;
    if (!app.remembered.has(snapshot)) app.remembered.set(snapshot, app.weightsAt(snapshot));
    return app.remembered.get(snapshot);
  }

  // --- one frame: place, run, find the evidence, paint

  function changed(app) {
    if (app.waiting) return;
    app.waiting = true;
    requestAnimationFrame(() => {
      app.waiting = false;
      frame(app);
    });
  }

  function frame(app) {
    const begun = performance.now();
    app.pixels = pixelsOf(app);
    app.root.classList.toggle("live-empty", empty(app));
    const ran = performance.now();
    run(app);
    const explained = performance.now();
    explain(app);
    const painted = performance.now();
    for (const refresh of app.refreshers) refresh();
    for (const refresh of app.panelRefreshers) refresh();
    const done = performance.now();
    app.frames.push({
      place: ran - begun,
      run: explained - ran,
      evidence: painted - explained,
      paint: done - painted,
      total: done - begun,
    });
    if (app.frames.length > 500) app.frames.shift();
  }

  // The network as it was at the chosen snapshot, run on what it receives.
  function run(app) {
    app.net.weights = app.weightsAt || app.snapshot >= app.count ? weightsOf(app, app.snapshot) : app.weights;
    app.net.run(scaled(app.pixels), app.off);
    judged(app);
  }

  function judged(app) {
    app.shares = N.probabilities(app.net);
    app.first = argmax(app.shares);
    app.second = argmax(app.shares, app.first);
  }

  function explain(app) {
    const seed = new Float32Array(app.data.classes.length);
    seed[app.first] = 1;
    if (app.contrast) seed[app.second] = -1;
    app.evidence = N.evidence(app.net, seed, app.off);
  }

  // After a stroke has ended or something else was chosen: the past, the address, the announcement.
  function settle(app) {
    clearTimeout(app.settling);
    app.settling = setTimeout(() => {
      app.settling = null;
      if (!app.pixels) frame(app);
      if (app.past) askPast(app);
      if (app.touched) remember(app);
      if (!empty(app)) {
        const { classes } = app.data;
        app.announce.textContent = app.say("said", {
          name: classes[app.first],
          share: percent(app.shares[app.first]),
          next: classes[app.second],
          nextShare: percent(app.shares[app.second]),
        });
      }
    }, 120);
  }

  function act(app, change) {
    // something a person did: can be undone
    app.touched = true;
    const { strokes, picture, meant, example, test } = app;
    app.undo.push({ strokes, picture, meant, example, test });
    if (app.undo.length > 200) app.undo.shift();
    change();
    app.changed();
    app.settle();
  }

  // --- the answer

  function answersRoom(app, section) {
    const { say } = app,
      name = make("b", {}),
      share = make("span", {}),
      next = make("span", { class: "live-quiet" });
    const bars = make("ol", { class: "live-bars" });
    const wide = (name) => [...name].reduce((sum, letter) => sum + (letter > "\u1100" ? 1.9 : 1), 0.6);
    bars.style.setProperty("--live-name", `${Math.min(11, Math.max(...app.data.classes.map(wide)))}ch`);
    const rows = Array.from({ length: Math.min(SHOWN_BARS, app.data.classes.length) }, () =>
      barRow(app, bars),
    );
    app.refreshers.push(() => {
      const { classes } = app.data,
        nothing = empty(app);
      name.textContent = nothing ? "–" : classes[app.first];
      share.textContent = nothing ? "" : percent(app.shares[app.first]);
      next.textContent = nothing
        ? ""
        : say("runner", { name: classes[app.second], share: percent(app.shares[app.second]) });
      const order = classes.map((_, label) => label);
      if (classes.length > SHOWN_BARS) order.sort((a, b) => app.shares[b] - app.shares[a]);
      rows.forEach((row, place) => row(order[place], nothing));
    });
    section.append(
      make(app.heads[0], { class: "live-head" }, say("answer")),
      make("p", { class: "live-big" }, name, share, next),
      bars,
      make("p", { class: "live-quiet" }, say("answer.meant")),
      evidenceBlock(app),
      PellucidChange.block(app),
      ...(app.data.usual ? [gapBlock(app)] : []),
    );
  }

  function barRow(app, list) {
    const name = make("span", { class: "live-name" }),
      fill = make("span", { class: "live-fill" }),
      share = make("span", { class: "live-share" });
    let label = 0;
    const button = make(
      "button",
      {
        type: "button",
        onclick: () => {
          app.meant = app.meant === label ? null : label;
          app.touched = true;
          app.changed();
          app.settle();
        },
      },
      name,
      make("span", { class: "live-track" }, fill),
      share,
    );
    const row = make("li", {}, button);
    list.append(row);
    return (now, nothing) => {
      label = now;
      name.textContent = app.data.classes[label];
      fill.style.transform = `scaleX(${nothing ? 0 : app.shares[label].toFixed(4)})`;
      share.textContent = nothing ? "" : percent(app.shares[label]);
      row.className = !nothing && label === app.first ? "live-first" : "";
      button.setAttribute("aria-pressed", String(app.meant === label));
    };
  }

  function evidenceBlock(app) {
    const layer = N.evidenceLayer(app.net),
      [, height, width] = app.shape,
      { say } = app;
    if (!layer) return null;
    const scale = Math.max(1, Math.ceil(112 / Math.max(height, width)));
    const canvas = make("canvas", {
      width: width * scale,
      height: height * scale,
      role: "img",
      "aria-label": say("evidence"),
    });
    const low = make("span", {}),
      high = make("span", {}),
      who = make("p", {}),
      sum = make("p", { class: "live-quiet" });
    const box = make("input", {
      type: "checkbox",
      onchange: () => {
        app.contrast = box.checked;
        app.changed();
      },
    });
    app.refreshers.push(() => {
      const { cells, sum: total } = app.evidence,
        reach = cells.reduce((most, cell) => Math.max(most, Math.abs(cell)), 0);
      box.checked = app.contrast;
      paintEvidence(app, canvas, reach);
      low.textContent = number(-reach);
      high.textContent = number(reach);
      const scores = app.net.values[N.scoresOf(app.net)],
        { classes } = app.data;
      const score = scores[app.first] - (app.contrast ? scores[app.second] : 0);
      who.textContent = say(app.contrast ? "evidence.against" : "evidence.for", {
        name: classes[app.first],
        other: classes[app.second],
      });
      sum.textContent =
        reach === 0
          ? say("evidence.none")
          : say("evidence.sum", { sum: number(total), score: number(score), rest: number(score - total) });
    });
    return make(
      "div",
      { class: "live-block live-asked" },
      make(app.heads[0], { class: "live-head" }, say("evidence")),
      who,
      make("div", { class: "live-frame" }, canvas),
      make("p", {}, make("span", { class: "live-bar-scale live-signed" }, low, make("i", {}), high)),
      sum,
      make("label", {}, box, say("evidence.contrast")),
      make("p", { class: "live-quiet" }, say("evidence.how", { layer: layer.name })),
    );
  }

  function paintEvidence(app, canvas, reach) {
    // the colours of the cells, darkened where the picture is bright
    const [channels, height, width] = app.shape,
      { cells, height: rows, width: columns } = app.evidence;
    const context = canvas.getContext("2d"),
      image =
        app.evidenceImage && app.evidenceImage.width === canvas.width
          ? app.evidenceImage
          : (app.evidenceImage = context.createImageData(canvas.width, canvas.height));
    const scale = canvas.width / width,
      plane = height * width;
    for (let y = 0, at = 0; y < canvas.height; y++) {
      const row = Math.min(rows - 1, Math.floor((y * rows) / canvas.height)) * columns,
        line = Math.floor(y / scale) * width;
      for (let x = 0; x < canvas.width; x++, at += 4) {
        const cell = cells[row + Math.min(columns - 1, Math.floor((x * columns) / canvas.width))];
        const colour = COLOURS.signed[reach ? Math.round((cell / reach) * 127.5 + 127.5) : 128];
        const pixel = line + Math.floor(x / scale);
        const ink =
          channels === 3
            ? (app.pixels[pixel] + app.pixels[pixel + plane] + app.pixels[pixel + 2 * plane]) / 3
            : app.pixels[pixel];
        const light = 1 - 0.4 * (ink / 255);
        image.data[at] = (colour & 255) * light;
        image.data[at + 1] = ((colour >> 8) & 255) * light;
        image.data[at + 2] = ((colour >> 16) & 255) * light;
        image.data[at + 3] = 255;
      }
    }
    context.putImageData(image, 0, 0);
  }

  // --- how unlike the training pictures

  function percentile(value, quantiles) {
    let below = 0,
      upTo = 0;
    for (const quantile of quantiles) {
      if (quantile < value) below += 1;
      if (quantile <= value) upTo += 1;
    }
    return Math.min(100, Math.max(0, (below + upTo) / 2 - 0.5));
  }

  function gapBlock(app) {
    const { say, data } = app,
      [, height, width] = app.shape;
    const words = make("ul", { class: "live-words" }),
      rails = make("div", { class: "live-gaps" });
    const rows = Object.keys(data.usual).map((name) => {
      const pin = make("i", {}),
        value = make("span", {});
      rails.append(make("span", {}, say(`gap.${name}`)), make("span", { class: "live-rail" }, pin), value);
      return { name, pin, value };
    });
    const mend = make(
      "button",
      { type: "button", onclick: () => mended(app) },
      say("gap.mend", { data: dataName(app) }),
    );
    const block = make(
      "div",
      { class: "live-block" },
      make(app.heads[0], { class: "live-head" }, say("gap")),
      words,
      rails,
      make("p", { class: "live-quiet" }, say("gap.how")),
      make("p", {}, mend),
    );
    app.refreshers.push(() => {
      block.hidden = empty(app);
      if (block.hidden) return;
      const found = D.measure(app.pixels, height, width),
        lines = [];
      for (const { name, pin, value } of rows) {
        const at = percentile(found[name], data.usual[name]);
        pin.style.left = `${at}%`;
        value.textContent = say("gap.value", { value: number(found[name]), percentile: Math.round(at) });
        if (at < 4 || at > 96) {
          lines.push(
            say(`gap.${name}.${at < 50 ? "low" : "high"}`, {
              share: at < 0.5 || at > 99.5 ? "> 99 %" : `${Math.round(Math.max(at, 100 - at))} %`,
            }),
          );
        }
      }
      app.gaps = lines;
      const text = lines.length ? lines : [say("gap.usual")];
      if (words.textContent !== text.join(""))
        words.replaceChildren(...text.map((line) => make("li", {}, line)));
      mend.hidden = app.picture ? app.mended === app.picture : app.placed && app.pen === "usual";
    });
    return block;
  }

  function mended(app) {
    const [, height, width] = app.shape;
    if (!app.picture) {
      app.placed = true;
      app.pen = "usual";
      app.touched = true;
      app.changed();
      app.settle();
      return;
    }
    const placed = D.placePicture(D.asInk(app.pixels, height, width), height, width, app.data.rule);
    const { meant } = app;
    app.act(() => {
      start(app, placed, meant);
      app.mended = placed;
    });
  }

  // --- the past

  function snapshotName(app, snapshot) {
    const { snapshots } = app.data;
    if (snapshot >= app.count) return app.say("time.now");
    if (snapshots.steps[snapshot] === 0) return app.say("time.untrained");
    const epoch = /^epoch ([\d.]+)$/.exec(snapshots.labels[snapshot]);
    const step = app.say("time.step", { step: whole(snapshots.steps[snapshot]) });
    return epoch ? `${app.say("time.epoch", { epoch: epoch[1] })} (${step})` : step;
  }

  function timeRoom(app, section) {
    const { say, data } = app;
    section.append(make(app.heads[0], { class: "live-head" }, say("time")));
    if (!data.snapshots) {
      const { large } = data; // {weights, most}: too many to keep
      const why = large ? say("time.large", { weights: whole(large.weights), most: whole(large.most) }) : say("time.none");
      section.append(make("p", { class: "live-quiet" }, why));
      return;
    }
    const slider = make("input", {
      type: "range",
      min: 0,
      max: app.count,
      step: 1,
      "aria-label": say("time.slider"),
      oninput: () => go(app, Number(slider.value)),
    });
    const play = make("button", { type: "button", onclick: () => playing(app, play) }, say("time.play"));
    const label = make("p", {}),
      strip = make("div", { class: "live-past", role: "group", "aria-label": say("time.strip") });
    app.timeNote = make("p", {});
    app.cells = Array.from({ length: app.count + 1 }, (_, snapshot) => {
      const fill = make("i", {}),
        name = make("span", {});
      const button = make("button", { type: "button", onclick: () => go(app, snapshot) }, fill, name);
      strip.append(button);
      return { button, fill, name };
    });
    app.refreshers.push(() => {
      slider.value = app.snapshot;
      const name = snapshotName(app, app.snapshot);
      slider.setAttribute("aria-valuetext", name);
      const right =
        data.snapshots.accuracy && app.snapshot < app.count
          ? ` · ${say("time.accuracy", { share: percent(data.snapshots.accuracy[app.snapshot]) })}`
          : "";
      label.textContent = `${name}${right}`;
      app.cells.forEach(({ button }, snapshot) =>
        button.setAttribute("aria-pressed", String(snapshot === app.snapshot)),
      );
    });
    const { agreement, bits, difference, looked, exact } = data.snapshots;
    const how = () =>
      say("time.how", { bits, agreement: percent(agreement), difference: number(difference), looked: whole(looked) });
    section.append(
      make("div", { class: "live-slide" }, play, slider),
      label,
      strip,
      app.timeNote,
      make("p", { class: "live-quiet" }, `${exact ? say("time.kept") : how()} ${say("time.place")}`),
    );
  }

  function go(app, snapshot) {
    app.touched = true;
    app.snapshot = snapshot;
    app.changed();
    app.settle();
  }

  function playing(app, button) {
    if (app.player) {
      clearInterval(app.player);
      app.player = null;
      button.textContent = app.say("time.play");
      return;
    }
    button.textContent = app.say("time.stop");
    go(app, app.snapshot >= app.count ? 0 : app.snapshot + 1);
    app.player = setInterval(() => {
      if (app.snapshot >= app.count) playing(app, button);
      else go(app, app.snapshot + 1);
    }, 700);
  }

  // What every snapshot says of this drawing, {label, share} each, run here.
  function pastOf(app) {
    const input = scaled(app.pixels);
    return Array.from({ length: app.count + 1 }, (_, snapshot) => {
      app.past.weights = weightsOf(app, snapshot);
      app.past.run(input, app.off);
      return best(N.probabilities(app.past));
    });
  }

  function best(shares) {
    const label = argmax(shares);
    return { label, share: shares[label] };
  }

  // What every snapshot says of this drawing, and when it first said what was meant.
  function askPast(app) {
    app.askPast((answers) => showPast(app, answers));
  }

  function showPast(app, answers) {
    const nothing = empty(app);
    const wanted = app.meant === null ? answers[app.count].label : app.meant,
      { classes } = app.data;
    app.cells.forEach(({ button, fill, name }, snapshot) => {
      const { label, share } = answers[snapshot];
      const says = app.say("time.cell", {
        snapshot: snapshotName(app, snapshot),
        name: classes[label],
        share: percent(share),
      });
      button.className = label === wanted ? "live-right" : "";
      button.title = nothing ? snapshotName(app, snapshot) : says;
      button.setAttribute("aria-label", button.title);
      fill.style.height = nothing ? "0" : `${share * 100}%`;
      name.textContent = nothing ? "" : classes[label];
    });
    app.pastAnswers = answers;
    const first = answers.findIndex(({ label }) => label === wanted);
    let since = app.count + 1;
    while (since > 0 && answers[since - 1].label === wanted) since -= 1;
    const values = {
      name: classes[wanted],
      snapshot: snapshotName(app, Math.max(0, first)),
      since: snapshotName(app, Math.min(app.count, since)),
    };
    const told = () => {
      if (first < 0) return app.say("time.never", values);
      if (since > app.count) return app.say("time.lost", values);
      if (first !== since) return app.say("time.firstOnly", values);
      if (first === 0) return app.say("time.always", values);
      return first === app.count ? app.say("time.onlyNow", values) : app.say("time.first", values);
    };
    app.timeNote.textContent = nothing ? "" : told();
  }

  // --- the address: #draw;s=strokes;e=example;t=test picture of the report;m=snapshot;c=layer,channel,row,column;p=pen;f=1 (free);o=silenced

  function address(app) {
    const parts = ["#draw"];
    if (app.strokes.length && !app.picture) parts.push(`s=${D.toText(app.strokes)}`);
    if (app.example !== null) parts.push(`e=${app.example}`);
    if (app.test !== null) parts.push(`t=${app.test}`);
    if (app.snapshot < app.count) parts.push(`m=${app.snapshot}`);
    if (app.meant !== null && app.example === null && app.test === null) parts.push(`w=${app.meant}`);
    if (app.pen !== "usual") parts.push(`p=${app.pen}`);
    if (app.data.rule && !app.placed) parts.push("f=1");
    if (app.chosen) {
      const { layer, channel, row, column } = app.chosen;
      parts.push(`c=${[encodeURIComponent(layer.name), channel, row, column].join(",")}`);
    }
    if (app.off.size) {
      parts.push(`o=${[...app.off].map(([value, channels]) => [value, ...channels].join(".")).join(",")}`);
    }
    return parts.join(";");
  }

  function remember(app) {
    const text = address(app);
    if (location.hash !== text) history.replaceState(null, "", text);
  }

  // What an address says is checked like anything else that comes from outside.
  function restore(app, text) {
    const parts = text.startsWith("#draw;")
      ? Object.fromEntries(
          text
            .slice(6)
            .split(";")
            .map((part) => [part.slice(0, 1), part.slice(2)]),
        )
      : {};
    const integer = (value, limit) =>
      /^\d{1,6}$/.test(value || "") && Number(value) < limit ? Number(value) : null;
    if (text.startsWith("#draw;")) {
      const { check: known, classes } = app.data,
        each = N.size(app.shape);
      const example = known.labels ? integer(parts.e, known.labels.length) : null;
      start(app, null, integer(parts.w, classes.length));
      if (example !== null) {
        start(
          app,
          N.bytesOf(known.pictures).subarray(example * each, (example + 1) * each),
          known.labels[example],
          example,
        );
      } else if (parts.s) app.strokes = D.fromText(parts.s);
      else if (integer(parts.t, 1e6) !== null) fetchTest(app, Number(parts.t));
      const snapshot = integer(parts.m, app.count);
      app.snapshot = snapshot === null ? app.count : snapshot;
      app.pen = Object.hasOwn(PENS, parts.p || "") ? parts.p : "usual";
      app.placed = Boolean(app.data.rule) && parts.f !== "1";
      app.off = new Map();
      for (const group of (parts.o || "").split(",")) {
        const [value, ...channels] = group.split(".").map((one) => integer(one, 1e6));
        const layer = app.net.layers.find((one) => one.value === value);
        const real = layer ? channels.filter((channel) => channel !== null && channel < layer.shape[0]) : [];
        if (real.length) app.off.set(value, new Set(real));
      }
      app.chosen = null;
      restoreChannel(app, parts.c);
    }
    if (app.panel && !app.chosen) app.panel.remove();
    frame(app);
    app.settle();
  }

  // A test picture that the report around this section holds.
  async function fetchTest(app, index) {
    const album = window.pellucidPictures;
    if (!album || !album.fits(app.shape)) return;
    const pixels = await album.at(index, app.shape[0]);
    if (!pixels) return;
    start(app, pixels, album.label(index));
    app.test = index;
    app.changed();
    app.settle();
  }

  function restoreChannel(app, text) {
    const [name, ...places] = (text || "").split(",");
    const view = app.views.find((each) => encodeURIComponent(each.layer.name) === name);
    if (!view || !places.every((place) => /^\d{1,5}$/.test(place))) return;
    const [channel = 0, row = 0, column = 0] = places.map(Number);
    if (channel >= view.channels || row >= view.height || column >= view.width) return;
    app.chosen = { layer: view.layer, view, channel, row, column };
    if (!app.pixels) frame(app);
    openChannel(app);
  }

  return { answersRoom, askPast, best, check, explain, go, judged, loadPast, mount, pastOf, run, timeRoom };
})();

(() => {
  const root = document.getElementById("live"),
    data = document.getElementById("live-data");
  if (!root || !data) return;
  try {
    window.pellucid = PellucidLive.mount(root, JSON.parse(data.textContent));
  } catch (error) {
    const note = document.createElement("p");
    note.className = "live-bad";
    note.textContent = String(error);
    root.append(note);
    throw error;
  }
})();
