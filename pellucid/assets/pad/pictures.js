"use strict";
// From what was drawn to what each network receives, and pictures to start from.
const PellucidPictures = (() => {
  const { bytesOf } = PellucidSnapshots;
  const { size } = PellucidOperations;
  const { fitted, planes } = PellucidPreprocess;
  const { PENS } = PellucidDrawing;
  const { asInk, drawFree, place, placePicture } = PellucidStrokes;
  const FREE_PEN = 0.093; // of the shorter side, where no rule knows the pen of the data

  /** What a run receives of a drawing, bytes (C, H, W). @param {Drawing} drawing @param {Run[]} runs @param {Run} run */
  function pixelsOf(drawing, runs, run) {
    const { rule } = run.data,
      [channels, height, width] = run.shape;
    const pen = (rule ? rule.pen : Math.max(1.2, Math.min(height, width) * FREE_PEN)) * PENS[drawing.pen];
    if (!drawing.picture) {
      const drawn =
        rule && drawing.placed
          ? place(drawing.strokes, rule, pen)
          : drawFree(drawing.strokes, height, width, pen);
      return spread(drawn, channels);
    }
    let pixels = received(drawing.picture, runs, run);
    for (const stroke of drawing.strokes) {
      const ink = spread(drawFree([stroke], height, width, pen), channels);
      pixels = pixels.map(
        stroke.erases
          ? (value, cell) => Math.round((value * (255 - ink[cell])) / 255)
          : (value, cell) => Math.max(value, ink[cell]),
      );
    }
    return pixels;
  }

  /** One plane for every channel. @param {Uint8Array} plane @param {number} channels */
  function spread(plane, channels) {
    if (channels === 1) return plane;
    const all = new Uint8Array(plane.length * channels);
    for (let channel = 0; channel < channels; channel++) all.set(plane, channel * plane.length);
    return all;
  }

  /** A picture from the pixels that one run receives. @param {Run[]} runs @param {Run} run @param {Uint8Array} pixels
   * @returns {Picture} */
  function pictureFrom(runs, run, pixels) {
    /** @type {Uint8Array[]} */
    const all = [];
    all[run.place] = pixels;
    if (run.place) all[0] = converted(run.shape, runs[0], pixels);
    return { pixels: all };
  }

  /** @param {Picture} picture @param {Run[]} runs @param {Run} run */
  function received({ pixels }, runs, run) {
    if (!pixels[run.place]) pixels[run.place] = converted(runs[0].shape, run, pixels[0]);
    return pixels[run.place];
  }

  /** Pixels of one shape as a run receives them. @param {number[]} shape @param {Run} run @param {Uint8Array} pixels */
  function converted(shape, run, pixels) {
    if (shape.every((side, axis) => side === run.shape[axis])) return pixels;
    return receivedBy(run, PellucidImages.imageOf(pixels, shape).data, shape[1], shape[2]);
  }

  /**
   * A picture goes the way `Preprocess` sends it; writing on paper is placed by the data set's rule.
   * @param {Run} run @param {ArrayLike<number>} rgba @param {number} height @param {number} width
   */
  function receivedBy(run, rgba, height, width) {
    const [channels, rows, columns] = run.shape,
      { rule } = run.data;
    const bands = planes(rgba, height, width, channels);
    if (height === rows && width === columns) return joined(bands);
    if (rule) return placePicture(asInk(bands[0], height, width), height, width, rule);
    return joined(bands.map((band) => fitted(band, [height, width], [rows, columns], run.data)));
  }

  /** @param {Uint8Array[]} bands */
  function joined(bands) {
    const all = new Uint8Array(bands.length * bands[0].length);
    bands.forEach((band, at) => all.set(band, at * band.length));
    return all;
  }

  /** The pictures of the first run to start from, with the label of each. @param {Run[]} runs */
  function examples(runs) {
    const [run] = runs,
      { check, classes } = run.data;
    return (check.labels || []).map((label, at) => ({
      picture: pictureFrom(runs, run, pictureAt(check.pictures, run.shape, at)),
      label: classes[label],
    }));
  }

  /** Bytes (C, H, W) of one of several in base64. @param {string} pictures @param {number[]} shape @param {number} at */
  function pictureAt(pictures, shape, at) {
    const each = size(shape);
    return bytesOf(pictures).subarray(at * each, (at + 1) * each);
  }

  /** A picture file read by this browser, as the first run receives it. @param {File} file @param {Run[]} runs */
  async function readHere(file, runs) {
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
    const { height, width } = bitmap;
    const canvas = PellucidParts.make("canvas", { width, height });
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
    const { background } = runs[0].data;
    context.fillStyle = `rgb(${background} ${background} ${background})`;
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0);
    const rgba = context.getImageData(0, 0, width, height).data;
    return pictureFrom(runs, runs[0], receivedBy(runs[0], rgba, height, width));
  }

  return { examples, pictureAt, pictureFrom, pixelsOf, readHere };
})();
