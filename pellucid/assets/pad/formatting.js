"use strict";
// Numbers as a person reads them: formatting.py in the page.
const PellucidFormatting = (() => {
  const { chance: CHANCE, percent: PERCENT } = PellucidConstants;

  /** Fixed digits as Python rounds them: an exact tie goes to the even digit. @param {number} value @param {number} digits */
  function fixed(value, digits) {
    const doubled = value * 2 ** (digits + 1); // an odd whole number: `value` lies just between two decimals
    const below = Math.floor(value * 10 ** digits);
    const down = Number.isInteger(doubled) && doubled % 2 !== 0 && below % 2 === 0;
    return (down ? below / 10 ** digits : value).toFixed(digits);
  }

  /** A share as "97.8 %"; with a second place where `count` pictures can bear it, and never 100 % for what is not
   * all. @param {number} share */
  function percent(share, count = 1000) {
    const places = count > PERCENT.more_from ? PERCENT.more_digits : PERCENT.digits;
    const value = share * 100;
    for (let more = 0; more <= PERCENT.further_digits; more++) {
      const text = fixed(value, places + more);
      if (![0, 100].includes(Number(text)) || value <= 0 || value >= 100) return `${text} %`;
    }
    return value > 50 ? `> ${(100 - 10 ** -places).toFixed(places)} %` : `< ${(10 ** -places).toFixed(places)} %`;
  }

  /** A probability: what is not quite certain is never called 100 %, nor 0 % impossible. @param {number} probability */
  function chance(probability) {
    if (CHANCE.certain <= probability && probability < 1) return "> 99.9 %";
    return 0 < probability && probability < CHANCE.impossible ? "< 0.1 %" : percent(probability);
  }

  /** Three digits, with a minus sign as long as a plus. @param {number} value */
  function number(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    const text = size >= 1000 ? value.toFixed(0) : size < 0.001 ? value.toExponential(1) : value.toPrecision(3);
    return text.replace("-", "−").replace(/e([+-])/, (_, sign) => `e${sign === "-" ? "−" : ""}`);
  }

  /** @param {number} value */
  const signed = (value) => (value > 0 ? "+" : "") + number(value);
  /** @param {number} count */
  const whole = (count) => count.toLocaleString("en");
  /** Tenths of a point with their sign. @param {number} tenths */
  const points = (tenths) =>
    `${tenths > 0 ? "+" : tenths < 0 ? "−" : ""}${(Math.abs(tenths) / 10).toFixed(1)}`;

  /** The sentences of a language. @param {Record<string, string>} words @returns {Say} */
  const sayer =
    (words) =>
    (key, values = {}) =>
      (words[key] === undefined ? key : words[key]).replace(/\{(\w+)\}/g, (_, name) => String(values[name]));

  return { chance, number, percent, points, sayer, signed, whole };
})();
