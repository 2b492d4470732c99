"use strict";
// The pad: strokes, erasing, keys, dropped pictures, test pictures to start from, and what the network receives.
const PellucidPad = (() => {
  const { PAD } = PellucidStrokes;
  const { PENS } = PellucidDrawing;
  const { button, checkbox, choice, contextOf, heading, make, pressable, quiet } = PellucidParts;
  const PEN = 26; // units of the pad: 13 % of a digit of 200, as in MNIST
  const ERASER = 14;
  /** @type {Record<string, Point>} */
  const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  /** Something that undo takes back. @param {Page} page @param {() => void} change */
  function act(page, change) {
    page.drawing.act(change);
    page.changed();
    page.settle();
  }

  /** @param {Page} page */
  function undo(page) {
    if (!page.drawing.undo()) return;
    page.changed();
    page.settle();
  }

  /** @param {Page} page @param {HTMLElement} section */
  function drawingRoom(page, section) {
    const { say, drawing } = page,
      [run] = page.runs;
    const note = quiet("", { role: "alert" });
    const file = make("input", {
      type: "file",
      accept: "image/*",
      onchange: () => file.files && open(page, file.files[0], note),
    });
    const take = button(say("undo"), () => undo(page)),
      clear = button(say("clear"), () => act(page, () => drawing.start()));
    page.refreshers.push(() => {
      take.disabled = !drawing.past.length;
      clear.disabled = drawing.empty;
    });
    const width = choice(say, "width", /** @type {const} */ (["thin", "usual", "thick"]), {
      get: () => drawing.pen,
      set: (pen) => {
        Object.assign(drawing, { pen, touched: true });
        page.changed();
        page.settle();
      },
      refreshers: page.refreshers,
    });
    section.append(
      heading(page.heads, say("draw")),
      padOf(page, note),
      make("div", { class: "live-tools" }, tool(page, "pen"), tool(page, "eraser"), take, clear),
      make("div", { class: "live-tools" }, width),
      ...(run.data.rule ? [placement(page)] : []),
      make(
        "div",
        { class: "live-tools" },
        make("label", { class: "live-file" }, say("open"), file),
        make("span", { class: "live-quiet" }, say("drop")),
      ),
      note,
      ...examples(page),
      received(page),
    );
  }

  /** @param {Page} page @param {"pen" | "eraser"} name */
  function tool(page, name) {
    const chosen = button(page.say(name), () => {
      page.drawing.tool = name;
      page.changed();
    });
    page.refreshers.push(() => chosen.setAttribute("aria-pressed", String(page.drawing.tool === name)));
    return chosen;
  }

  /** @param {Page} page @param {HTMLElement} note */
  function padOf(page, note) {
    const [, height, width] = page.runs[0].shape;
    const canvas = make("canvas", { width: 560, height: Math.round((560 * height) / width) });
    const cursor = make("span", { class: "live-cursor", hidden: true });
    const pad = make(
      "div",
      { class: "live-pad", tabindex: 0, role: "application", "aria-label": page.say("pad") },
      canvas,
      cursor,
    );
    pad.style.aspectRatio = `${width} / ${height}`;
    page.refreshers.push(() => paint(page, canvas));
    pointers(page, pad);
    keys(page, pad, cursor);
    drops(page, pad, note);
    return pad;
  }

  /** @param {Page} page */
  function placement(page) {
    const { drawing, say } = page;
    const { box, label } = checkbox(say("placed", { data: dataName(page.runs[0]) }), (placed) => {
      drawing.placed = placed;
      page.changed();
      page.settle();
    });
    page.refreshers.push(() => {
      box.checked = drawing.placed;
      box.disabled = Boolean(drawing.picture);
    });
    return make("div", {}, label, quiet(say("placed.how")));
  }

  /** What a run was trained on, as it is written. @param {Run} run */
  const dataName = ({ data }) => (data.data === "mnist" ? "MNIST" : data.data || "—");

  /** @param {Page} page */
  function examples(page) {
    const [run] = page.runs,
      all = PellucidPictures.examples(page.runs);
    if (!all.length) return [];
    const buttons = all.map(({ picture, label }, at) => {
      const says = page.say("example", { number: at + 1, label });
      const begin = () => act(page, () => page.drawing.start({ picture, label, example: at }));
      const one = pressable(picture.pixels[0], run.shape, says, begin);
      page.refreshers.push(() => one.setAttribute("aria-pressed", String(page.drawing.example === at)));
      return one;
    });
    return [
      make(
        "div",
        { class: "live-block" },
        heading(page.heads, page.say("examples"), true),
        make("div", { class: "live-thumbs" }, ...buttons),
      ),
    ];
  }

  /** The strokes as they were drawn; a picture that is drawn on, as the network sees it.
   * @param {Page} page @param {HTMLCanvasElement} canvas */
  function paint({ drawing, runs: [run] }, canvas) {
    const context = contextOf(canvas),
      across = canvas.width / PAD,
      down = canvas.height / PAD;
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (drawing.picture) {
      const small = make("canvas", { width: run.shape[2], height: run.shape[1] });
      contextOf(small).putImageData(PellucidImages.imageOf(run.pixels, run.shape), 0, 0);
      context.imageSmoothingEnabled = false;
      context.drawImage(small, 0, 0, canvas.width, canvas.height);
      return;
    }
    context.lineWidth = PEN * PENS[drawing.pen] * across;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = "#fff";
    for (const stroke of drawing.strokes) {
      context.beginPath();
      stroke.forEach(([x, y], at) => context[at ? "lineTo" : "moveTo"](x * across, y * down));
      if (stroke.length === 1) context.lineTo(stroke[0][0] * across, stroke[0][1] * down);
      context.stroke();
    }
  }

  // --- the pen and the eraser, moved by a pointer or by keys

  /** @param {Page} page */
  function penOf(page) {
    const { drawing } = page;
    /** @type {Point | null} */
    let rubbed = null;
    const rubs = () => drawing.tool === "eraser" && !drawing.picture;

    /** All along the way of the eraser, not only where the pointer was seen. @param {Point[]} points */
    function rub(points) {
      for (const [x, y] of points) {
        const [a, b] = rubbed || [x, y],
          parts = Math.max(1, Math.ceil(Math.hypot(x - a, y - b) / (ERASER / 2)));
        for (let part = 1; part <= parts; part++) {
          const at = [a + ((x - a) * part) / parts, b + ((y - b) * part) / parts];
          drawing.strokes = PellucidStrokes.erase(drawing.strokes, at[0], at[1], ERASER);
        }
        rubbed = [x, y];
      }
      page.changed();
    }

    /** @param {Point[]} points */
    function extend(points) {
      const last = drawing.strokes[drawing.strokes.length - 1];
      const added = points.filter(([x, y], at) => {
        const [a, b] = at ? points[at - 1] : last[last.length - 1] || [-1, -1];
        return x !== a || y !== b;
      });
      if (!added.length) return;
      /** @type {Stroke} */
      const longer = [...last, ...added];
      longer.erases = last.erases;
      drawing.strokes = [...drawing.strokes.slice(0, -1), longer];
      page.changed();
    }

    return {
      /** @param {Point} point */
      down(point) {
        rubbed = null;
        act(page, () => {
          if (rubs()) return rub([point]);
          /** @type {Stroke} */
          const stroke = [point];
          stroke.erases = drawing.tool === "eraser";
          drawing.strokes = [...drawing.strokes, stroke];
        });
      },
      /** @param {Point[]} points */
      move: (points) => (rubs() ? rub : extend)(points),
    };
  }

  /** @param {Page} page @param {HTMLElement} pad */
  function pointers(page, pad) {
    const pen = penOf(page);
    /** @type {number | null} */
    let pointer = null;
    /** @param {PointerEvent} event @returns {Point} */
    const pointOf = (event) => {
      const box = pad.getBoundingClientRect();
      /** @param {number} share */
      const half = (share) => Math.round(Math.min(1, Math.max(0, share)) * PAD * 2) / 2;
      return [half((event.clientX - box.left) / box.width), half((event.clientY - box.top) / box.height)];
    };
    pad.addEventListener("pointerdown", (event) => {
      if (pointer !== null || event.button) return;
      event.preventDefault();
      pad.focus({ preventScroll: true });
      pointer = event.pointerId;
      pad.setPointerCapture(pointer);
      pen.down(pointOf(event));
    });
    pad.addEventListener("pointermove", (event) => {
      if (event.pointerId !== pointer) return;
      const all = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
      pen.move((all.length ? all : [event]).map(pointOf));
    });
    /** @param {PointerEvent} event */
    const end = (event) => {
      if (event.pointerId !== pointer) return;
      pointer = null;
      page.settle();
    };
    pad.addEventListener("pointerup", end);
    pad.addEventListener("pointercancel", end);
  }

  /** @param {Page} page @param {HTMLElement} pad @param {HTMLElement} cursor */
  function keys(page, pad, cursor) {
    const pen = penOf(page);
    /** @type {Point} */
    let at = [PAD / 2, PAD / 2];
    let down = false;
    const show = () => {
      cursor.hidden = false;
      cursor.style.left = `${(at[0] / PAD) * 100}%`;
      cursor.style.top = `${(at[1] / PAD) * 100}%`;
      cursor.classList.toggle("live-down", down);
    };
    const hide = () => {
      cursor.hidden = true;
      down = false;
    };
    pad.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const move = MOVES[event.key];
      if (move) {
        const step = event.shiftKey ? 2 : 10;
        const [x, y] = at.map((value, axis) => Math.min(PAD, Math.max(0, value + move[axis] * step)));
        at = [x, y];
        if (down) pen.move([at]);
      } else if (event.key === " ") {
        down = !down;
        if (down) pen.down(at);
        else page.settle();
      } else if (event.key === "Backspace") undo(page);
      else return;
      event.preventDefault();
      event.stopPropagation();
      show();
    });
    pad.addEventListener("keyup", (event) => {
      if (MOVES[event.key]) page.settle();
    });
    pad.addEventListener("blur", hide);
    pad.addEventListener("pointerdown", hide);
  }

  /** @param {Page} page @param {HTMLElement} pad @param {HTMLElement} note */
  function drops(page, pad, note) {
    pad.addEventListener("dragover", (event) => {
      event.preventDefault();
      pad.classList.add("live-over");
    });
    pad.addEventListener("dragleave", () => pad.classList.remove("live-over"));
    pad.addEventListener("drop", (event) => {
      event.preventDefault();
      pad.classList.remove("live-over");
      const files = event.dataTransfer && event.dataTransfer.files;
      if (files && files.length) open(page, files[0], note);
    });
  }

  /** A picture file; served, the model's own Preprocess reads it. @param {Page} page @param {File} file @param {HTMLElement} note */
  async function open(page, file, note) {
    if (!file) return;
    note.textContent = "";
    try {
      const picture = await (page.readFile ? page.readFile(file) : PellucidPictures.readHere(file, page.runs));
      act(page, () => page.drawing.start({ picture }));
    } catch (error) {
      note.textContent = page.say("unreadable", { error: /** @type {Error} */ (error).message });
    }
  }

  // --- what the network receives

  /** The picture a run receives, and how to frame what a cell sees of it.
   * @param {Say} say @param {Run} run @param {Refresher[]} refreshers */
  function inputFrame(say, run, refreshers) {
    const [, height, width] = run.shape;
    const canvas = make("canvas", { width, height, role: "img", "aria-label": say("receives") });
    const field = make("span", { class: "live-field", hidden: true });
    /** @param {Area | null} area */
    const showField = (area) => {
      field.hidden = !area;
      if (!area) return;
      field.style.left = `${(area[1] / width) * 100}%`;
      field.style.top = `${(area[0] / height) * 100}%`;
      field.style.width = `${((area[3] - area[1] + 1) / width) * 100}%`;
      field.style.height = `${((area[2] - area[0] + 1) / height) * 100}%`;
    };
    refreshers.push(() => contextOf(canvas).putImageData(PellucidImages.imageOf(run.pixels, run.shape), 0, 0));
    return { frame: make("div", { class: "live-frame" }, canvas, field), showField };
  }

  /** @param {Say} say @param {Run} run */
  function inputSize(say, { shape: [channels, height, width] }) {
    return say("receives.size", { width, height, channels: say(channels === 3 ? "colour" : "gray") });
  }

  /** @param {Page} page */
  function received(page) {
    const { say, drawing } = page,
      [run] = page.runs;
    const { frame, showField } = inputFrame(say, run, page.refreshers),
      note = quiet("");
    page.showField = showField;
    page.refreshers.push(() => {
      note.textContent = drawing.empty ? say("nothing") : inputSize(say, run);
    });
    return make("div", { class: "live-block" }, heading(page.heads, say("receives")), frame, note);
  }

  return { act, dataName, drawingRoom, inputFrame, inputSize };
})();
