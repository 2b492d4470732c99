"use strict";
// The one state of a page: what is drawn, and what is chosen of each run.
const PellucidDrawing = (() => {
  const UNDO = 200; // steps kept
  /** @type {Record<string, number>} */
  const PENS = { thin: 0.5, usual: 1, thick: 1.8 }; // times the pen of the data

  /**
   * What undo brings back.
   * @typedef {object} Drawn
   * @property {Stroke[]} strokes
   * @property {Picture | null} picture  drawn upon
   * @property {string | null} label  the class that was meant, by name
   * @property {number | null} example  which of the pictures to start from it began with
   * @property {number | null} test  which test picture of the report around it
   */

  class Drawing {
    /** @param {boolean} placed  whether strokes are placed by a rule @param {Choices[]} choices  of each run */
    constructor(placed, choices) {
      /** @type {Stroke[]} */
      this.strokes = [];
      /** @type {Picture | null} */
      this.picture = null;
      /** @type {string | null} */
      this.label = null;
      /** @type {number | null} */
      this.example = null;
      /** @type {number | null} */
      this.test = null;
      /** @type {"pen" | "eraser"} */
      this.tool = "pen";
      /** @type {"thin" | "usual" | "thick"} */
      this.pen = "usual";
      this.placed = placed;
      this.choices = choices;
      this.touched = false; // whether a person did anything: only then is the address written
      /** @type {Drawn[]} */
      this.past = []; // what undo goes back to
    }

    get empty() {
      return !this.picture && !this.strokes.length;
    }

    /** Begin anew from a picture, or from nothing. @param {Partial<Drawn>} [from] */
    start(from = {}) {
      Object.assign(this, { strokes: [], picture: null, label: null, example: null, test: null, ...from });
    }

    /** A change that can be undone. @param {() => void} change */
    act(change) {
      this.touched = true;
      const { strokes, picture, label, example, test } = this;
      this.past.push({ strokes, picture, label, example, test });
      if (this.past.length > UNDO) this.past.shift();
      change();
    }

    /** Whether there was anything to undo. */
    undo() {
      const before = this.past.pop();
      if (before) Object.assign(this, before);
      return Boolean(before);
    }
  }

  /** @param {number} snapshots @returns {Choices} */
  const freshChoices = (snapshots) => ({
    snapshot: snapshots,
    off: new Map(),
    chosen: null,
    contrast: false,
    scale: "layer",
  });

  return { Drawing, PENS, freshChoices };
})();
/** @typedef {InstanceType<typeof PellucidDrawing.Drawing>} Drawing */
