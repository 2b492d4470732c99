"use strict";
// Elements that several parts of the page make.
const PellucidParts = (() => {
  const { imageOf } = PellucidImages;

  /**
   * An element with attributes ("on..." listens) and children.
   * @template {keyof HTMLElementTagNameMap} T
   * @param {T} tag
   * @param {Record<string, unknown>} [attributes]
   * @param {...(Node | string | null | undefined)} children
   * @returns {HTMLElementTagNameMap[T]}
   */
  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (typeof value === "function") element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
    }
    for (const child of children) if (child !== null && child !== undefined) element.append(child);
    return element;
  }

  /** @param {string} text @param {() => void} onclick @param {Record<string, unknown>} [attributes] */
  const button = (text, onclick, attributes = {}) => make("button", { type: "button", onclick, ...attributes }, text);

  /** A heading of the kind that stands over a room, or `small` over a part of one.
   * @param {[string, string]} heads @param {string} text */
  function heading(heads, text, small = false) {
    const tag = /** @type {"h2"} */ (heads[small ? 1 : 0]);
    return make(tag, { class: small ? "live-subhead" : "live-head" }, text);
  }

  /** @param {string} text @param {Record<string, unknown>} [attributes] */
  const quiet = (text, attributes = {}) => make("p", { class: "live-quiet", ...attributes }, text);

  /** @param {HTMLCanvasElement} canvas */
  const contextOf = (canvas) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));

  /** @param {Uint8Array} pixels @param {number[]} shape @param {string} label */
  function thumbnail(pixels, shape, label) {
    const canvas = make("canvas", { width: shape[2], height: shape[1], role: "img", "aria-label": label });
    contextOf(canvas).putImageData(imageOf(pixels, shape), 0, 0);
    return canvas;
  }

  /** A small picture that does something when it is pressed.
   * @param {Uint8Array} pixels @param {number[]} shape @param {string} label @param {() => void} onclick */
  const pressable = (pixels, shape, label, onclick) =>
    make("button", { type: "button", title: label, onclick }, thumbnail(pixels, shape, label));

  /**
   * A labelled choice among options, its words "name.option".
   * @template {string} T
   * @param {Say} say @param {string} name @param {readonly T[]} options
   * @param {{get: () => T, set: (value: T) => void, refreshers: Refresher[]}} field
   */
  function choice(say, name, options, { get, set, refreshers }) {
    const select = make(
      "select",
      { onchange: () => set(/** @type {T} */ (select.value)) },
      ...options.map((option) => make("option", { value: option }, say(`${name}.${option}`))),
    );
    refreshers.push(() => {
      if (select.value !== get()) select.value = get();
    });
    return make("label", {}, say(name), select);
  }

  /** A labelled checkbox. @param {string} label @param {(checked: boolean) => void} changed */
  function checkbox(label, changed) {
    const box = make("input", { type: "checkbox", onchange: () => changed(box.checked) });
    return { box, label: make("label", {}, box, label) };
  }

  /** A bar of colours between two ends. */
  function scaleBar(signed = false) {
    const low = make("span"),
      high = make("span");
    const bar = make("span", { class: `live-bar-scale${signed ? " live-signed" : ""}` }, low, make("i"), high);
    return { bar, low, high };
  }

  /** A part that fails says so in its place, and the others work.
   * @param {Say} say @param {HTMLElement} section @param {() => void} fill */
  function attempt(say, section, fill) {
    try {
      fill();
    } catch (error) {
      section.append(make("p", { class: "live-bad" }, say("failed", { error: String(error) })));
    }
  }

  return { attempt, button, checkbox, choice, contextOf, heading, make, pressable, quiet, scaleBar, thumbnail };
})();
