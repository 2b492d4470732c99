"use strict";
// What the scripts of the report share. They are joined into one, in which this stands first.

/**
 * @typedef {object} MistakeTable every mistake that has a picture, as columns
 * @property {string[]} classes
 * @property {number} columns of the atlas of test pictures
 * @property {number[]} index places in the test set
 * @property {number[]} position places in the atlas
 * @property {number[]} label places in `classes`
 * @property {number[]} prediction places in `classes`
 * @property {number[]} confidence
 * @property {number[]} label_probability
 * @property {string[]} source
 */

const reportPage = (() => {
  /**
   * The first element that matches, which the page is known to have.
   * @param {string} selector
   * @param {ParentNode} [inside]
   * @returns {any}
   */
  const find = (selector, inside = document) => inside.querySelector(selector);

  /**
   * Every element that matches.
   * @param {string} selector
   * @param {ParentNode} [inside]
   * @returns {any[]}
   */
  const findAll = (selector, inside = document) => [...inside.querySelectorAll(selector)];

  /**
   * What a `<script type="application/json">` holds, or null where the page has none.
   * @param {string} id
   * @returns {any}
   */
  const readJson = (id) => {
    const element = document.getElementById(id);
    return element === null ? null : JSON.parse(element.textContent ?? "");
  };

  const words = readJson("words");

  /**
   * A sentence of the page's language with its {names} filled in.
   * @param {string} key
   * @param {Record<string, unknown>} [values]
   * @returns {string}
   */
  const translate = (key, values = {}) =>
    words[key].replace(/\{(\w+)\}/g, (/** @type {string} */ _, /** @type {string} */ name) => String(values[name]));

  /**
   * `text`, its middle left out where it is longer than `limit`, as in formatting.py.
   * @param {string} text
   * @param {number} limit
   */
  const brief = (text, limit) =>
    text.length <= limit ? text : `${text.slice(0, limit / 2)}…${text.slice(1 - limit / 2)}`;

  /**
   * A probability as "97.3 %", as in formatting.py: what is not quite certain is never called 100 %.
   * @param {number} probability
   */
  const chance = (probability) => {
    if (probability >= 0.9995 && probability < 1) return "> 99.9 %";
    return probability > 0 && probability < 0.0005 ? "< 0.1 %" : `${(probability * 100).toFixed(1)} %`;
  };

  return { find, findAll, readJson, translate, brief, chance };
})();
