"use strict";
// The pad: strokes, erasing, keys, dropped pictures, test pictures to start from, and what the network receives.
const PellucidPad = (() => {
  const D = PellucidDraw,
    N = PellucidNetwork;
  const { choice, gray, make, thumbnail } = PellucidParts;
  const PEN = 26; // units of the pad: 13 % of a digit of 200, as in MNIST
  const PENS = { thin: 0.5, usual: 1, thick: 1.8 };
  const ERASER = 14;

  // --- from what was drawn to pixels (C, H, W), bytes

  function pixelsOf(app) {
    const [channels, height, width] = app.shape,
      { rule } = app.data;
    const factor = PENS[app.pen];
    const pen = (rule ? rule.pen : Math.max(1.2, Math.min(height, width) * 0.093)) * factor;
    if (!app.picture) {
      const drawn =
        rule && app.placed ? D.place(app.strokes, rule, pen) : D.drawFree(app.strokes, height, width, pen);
      return spread(drawn, channels);
    }
    let pixels = app.picture;
    for (const stroke of app.strokes) {
      const ink = spread(D.drawFree([stroke], height, width, pen), channels);
      pixels = pixels.map(
        stroke.erases
          ? (value, cell) => Math.round((value * (255 - ink[cell])) / 255)
          : (value, cell) => Math.max(value, ink[cell]),
      );
    }
    return pixels;
  }

  function spread(plane, channels) {
    if (channels === 1) return plane;
    const all = new Uint8Array(plane.length * channels);
    for (let channel = 0; channel < channels; channel++) all.set(plane, channel * plane.length);
    return all;
  }

  const empty = (app) => !app.picture && !app.strokes.length;

  // --- drawing

  function drawingRoom(app, section) {
    const { say, data } = app,
      [, height, width] = app.shape;
    const canvas = make("canvas", { width: 560, height: Math.round((560 * height) / width) });
    const cursor = make("span", { class: "live-cursor", hidden: true });
    const pad = make(
      "div",
      { class: "live-pad", tabindex: 0, role: "application", "aria-label": say("pad") },
      canvas,
      cursor,
    );
    pad.style.aspectRatio = `${width} / ${height}`;
    app.refreshers.push(() => paintPad(app, canvas));
    pointers(app, pad);
    keys(app, pad, cursor);
    drops(app, pad);
    const tool = (name) => {
      const button = make(
        "button",
        {
          type: "button",
          onclick: () => {
            app.tool = name;
            app.changed();
          },
        },
        say(name),
      );
      app.refreshers.push(() => button.setAttribute("aria-pressed", String(app.tool === name)));
      return button;
    };
    const undo = make("button", { type: "button", onclick: () => undoOne(app) }, say("undo"));
    const clear = make(
      "button",
      { type: "button", onclick: () => app.act(() => start(app, null, null)) },
      say("clear"),
    );
    app.refreshers.push(() => {
      undo.disabled = !app.undo.length;
      clear.disabled = empty(app);
    });
    const file = make("input", {
      type: "file",
      accept: "image/*",
      onchange: () => openFile(app, file.files[0]),
    });
    app.note = make("p", { class: "live-quiet", role: "alert" });
    section.append(
      make(app.heads[0], { class: "live-head" }, say("draw")),
      pad,
      make("div", { class: "live-tools" }, tool("pen"), tool("eraser"), undo, clear),
      make("div", { class: "live-tools" }, choice(app, "width", ["thin", "usual", "thick"], "pen")),
      ...(data.rule ? [placement(app)] : []),
      make(
        "div",
        { class: "live-tools" },
        make("label", { class: "live-file" }, say("open"), file),
        make("span", { class: "live-quiet" }, say("drop")),
      ),
      app.note,
      ...[examples(app)].filter(Boolean),
      received(app),
    );
  }

  function placement(app) {
    const box = make("input", {
      type: "checkbox",
      onchange: () => {
        app.placed = box.checked;
        app.changed();
        app.settle();
      },
    });
    app.refreshers.push(() => {
      box.checked = app.placed;
      box.disabled = Boolean(app.picture);
    });
    return make(
      "div",
      {},
      make("label", {}, box, app.say("placed", { data: dataName(app) })),
      make("p", { class: "live-quiet" }, app.say("placed.how")),
    );
  }

  const dataName = (app) => (app.data.data === "mnist" ? "MNIST" : app.data.data || "—");

  function examples(app) {
    const { check: known, classes } = app.data,
      each = N.size(app.shape);
    if (!known.labels) return null;
    const bytes = N.bytesOf(known.pictures);
    const buttons = known.labels.map((label, place) => {
      const pixels = bytes.subarray(place * each, (place + 1) * each);
      const says = app.say("example", { number: place + 1, label: classes[label] });
      const button = make(
        "button",
        { type: "button", title: says, onclick: () => app.act(() => start(app, pixels, label, place)) },
        thumbnail(app, pixels, says),
      );
      app.refreshers.push(() => button.setAttribute("aria-pressed", String(app.example === place)));
      return button;
    });
    return make(
      "div",
      { class: "live-block" },
      make(app.heads[1], { class: "live-subhead" }, app.say("examples")),
      make("div", { class: "live-thumbs" }, ...buttons),
    );
  }

  function start(app, picture, meant, example = null) {
    app.strokes = [];
    app.picture = picture;
    app.meant = meant;
    app.example = example;
    app.test = null;
  }

  function undoOne(app) {
    const before = app.undo.pop();
    if (!before) return;
    Object.assign(app, before);
    app.changed();
    app.settle();
  }

  function paintPad(app, canvas) {
    const [channels, height, width] = app.shape,
      context = canvas.getContext("2d");
    const zoom = canvas.width / D.PAD,
      zoomDown = canvas.height / D.PAD;
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (app.picture) {
      // a picture is drawn on as the network sees it
      const small = make("canvas", { width, height });
      small.getContext("2d").putImageData(gray(app.pixels, height, width, channels), 0, 0);
      context.imageSmoothingEnabled = false;
      context.drawImage(small, 0, 0, canvas.width, canvas.height);
      return;
    }
    context.lineWidth = PEN * PENS[app.pen] * zoom;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = "#fff";
    for (const stroke of app.strokes) {
      context.beginPath();
      stroke.forEach(([x, y], place) => context[place ? "lineTo" : "moveTo"](x * zoom, y * zoomDown));
      if (stroke.length === 1) context.lineTo(stroke[0][0] * zoom, stroke[0][1] * zoomDown);
      context.stroke();
    }
  }

  function extend(app, points) {
    const last = app.strokes[app.strokes.length - 1];
    const added = points.filter(([x, y], place) => {
      const [a, b] = place ? points[place - 1] : last[last.length - 1] || [-1, -1];
      return x !== a || y !== b;
    });
    if (!added.length) return;
    const longer = [...last, ...added];
    longer.erases = last.erases;
    app.strokes = [...app.strokes.slice(0, -1), longer];
    app.changed();
  }

  function rub(app, points) {
    // all along the way of the eraser, not only where the pointer was seen
    let { strokes } = app;
    for (const [x, y] of points) {
      const [a, b] = app.rubbed || [x, y],
        parts = Math.max(1, Math.ceil(Math.hypot(x - a, y - b) / (ERASER / 2)));
      for (let part = 1; part <= parts; part++) {
        strokes = D.erase(strokes, a + ((x - a) * part) / parts, b + ((y - b) * part) / parts, ERASER);
      }
      app.rubbed = [x, y];
    }
    app.strokes = strokes;
    app.changed();
  }

  function penDown(app, point) {
    app.rubbed = null;
    app.act(() => {
      if (app.tool === "eraser" && !app.picture) return rub(app, [point]);
      const stroke = [point];
      stroke.erases = app.tool === "eraser";
      app.strokes = [...app.strokes, stroke];
    });
  }

  const penMove = (app, points) => (app.tool === "eraser" && !app.picture ? rub : extend)(app, points);

  function pointers(app, pad) {
    let drawing = null;
    const place = (event) => {
      const box = pad.getBoundingClientRect();
      const half = (share) => Math.round(Math.min(1, Math.max(0, share)) * D.PAD * 2) / 2;
      return [half((event.clientX - box.left) / box.width), half((event.clientY - box.top) / box.height)];
    };
    pad.addEventListener("pointerdown", (event) => {
      if (drawing !== null || event.button) return;
      event.preventDefault();
      pad.focus({ preventScroll: true });
      drawing = event.pointerId;
      pad.setPointerCapture(drawing);
      penDown(app, place(event));
    });
    pad.addEventListener("pointermove", (event) => {
      if (event.pointerId !== drawing) return;
      const all = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
      penMove(app, (all.length ? all : [event]).map(place));
    });
    const end = (event) => {
      if (event.pointerId !== drawing) return;
      drawing = null;
      app.settle();
    };
    pad.addEventListener("pointerup", end);
    pad.addEventListener("pointercancel", end);
  }

  function keys(app, pad, cursor) {
    let at = [D.PAD / 2, D.PAD / 2],
      down = false;
    const show = () => {
      cursor.hidden = false;
      cursor.style.left = `${(at[0] / D.PAD) * 100}%`;
      cursor.style.top = `${(at[1] / D.PAD) * 100}%`;
      cursor.classList.toggle("live-down", down);
    };
    const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    pad.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (MOVES[event.key]) {
        const step = event.shiftKey ? 2 : 10;
        at = at.map((value, axis) => Math.min(D.PAD, Math.max(0, value + MOVES[event.key][axis] * step)));
        if (down) penMove(app, [[...at]]);
      } else if (event.key === " ") {
        down = !down;
        if (down) penDown(app, [...at]);
        else app.settle();
      } else if (event.key === "Backspace") undoOne(app);
      else return;
      event.preventDefault();
      event.stopPropagation();
      show();
    });
    pad.addEventListener("keyup", (event) => {
      if (MOVES[event.key]) app.settle();
    });
    pad.addEventListener("blur", () => {
      cursor.hidden = true;
      down = false;
    });
    pad.addEventListener("pointerdown", () => {
      cursor.hidden = true;
      down = false;
    });
  }

  function drops(app, pad) {
    pad.addEventListener("dragover", (event) => {
      event.preventDefault();
      pad.classList.add("live-over");
    });
    pad.addEventListener("dragleave", () => pad.classList.remove("live-over"));
    pad.addEventListener("drop", (event) => {
      event.preventDefault();
      pad.classList.remove("live-over");
      if (event.dataTransfer.files.length) openFile(app, event.dataTransfer.files[0]);
    });
  }

  // A picture file goes the way `Preprocess` sends it; writing on paper is placed by the data set's rule.
  async function openFile(app, file) {
    if (!file) return;
    app.note.textContent = "";
    try {
      if (app.data.reads) {
        // served: the model's own Preprocess reads it
        const read = await app.data.reads(file);
        app.act(() => start(app, read, null));
        return;
      }
      const bitmap = await createImageBitmap(file, {
        imageOrientation: "from-image",
        colorSpaceConversion: "none",
      });
      const canvas = make("canvas", { width: bitmap.width, height: bitmap.height });
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.fillRect(0, 0, bitmap.width, bitmap.height);
      context.drawImage(bitmap, 0, 0);
      const rgba = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
      const pixels = received_by(app, rgba, bitmap.height, bitmap.width);
      app.act(() => start(app, pixels, null));
    } catch (error) {
      app.note.textContent = app.say("unreadable", { error: error.message });
    }
  }

  function received_by(app, rgba, height, width) {
    const [channels, rows, columns] = app.shape,
      { rule } = app.data;
    const planes = D.planes(rgba, height, width, channels);
    if (height === rows && width === columns) return joined(planes);
    if (rule) return D.placePicture(D.asInk(planes[0], height, width), height, width, rule);
    return joined(planes.map((plane) => D.resized(plane, height, width, rows, columns)));
  }

  function joined(planes) {
    const all = new Uint8Array(planes.length * planes[0].length);
    planes.forEach((plane, place) => all.set(plane, place * plane.length));
    return all;
  }

  // The picture as the network receives it, with a frame around what a cell sees; drawn anew on every refresh.
  function inputFrame(app) {
    const [channels, height, width] = app.shape;
    const canvas = make("canvas", { width, height, role: "img", "aria-label": app.say("receives") });
    const field = make("span", { class: "live-field", hidden: true });
    app.showField = (area) => {
      field.hidden = !area;
      if (!area) return;
      field.style.left = `${(area[1] / width) * 100}%`;
      field.style.top = `${(area[0] / height) * 100}%`;
      field.style.width = `${((area[3] - area[1] + 1) / width) * 100}%`;
      field.style.height = `${((area[2] - area[0] + 1) / height) * 100}%`;
    };
    app.refreshers.push(() => {
      canvas.getContext("2d").putImageData(gray(app.pixels, height, width, channels), 0, 0);
    });
    return make("div", { class: "live-frame" }, canvas, field);
  }

  function inputSize(app) {
    const [channels, height, width] = app.shape;
    return app.say("receives.size", { width, height, channels: app.say(channels === 3 ? "colour" : "gray") });
  }

  function received(app) {
    const frame = inputFrame(app);
    const note = make("p", { class: "live-quiet" });
    app.refreshers.push(() => {
      note.textContent = empty(app) ? app.say("nothing") : inputSize(app);
    });
    return make(
      "div",
      { class: "live-block" },
      make(app.heads[0], { class: "live-head" }, app.say("receives")),
      frame,
      note,
    );
  }

  return { PENS, dataName, drawingRoom, empty, inputFrame, inputSize, pixelsOf, received_by, start };
})();
