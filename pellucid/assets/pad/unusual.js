"use strict";
// How unlike the training pictures a drawing is: its measures among theirs.
const PellucidUnusual = (() => {
  const { number } = PellucidFormatting;
  const { button, heading, make, quiet } = PellucidParts;
  const [LOW, HIGH] = [4, 96]; // percentiles outside of which a measure is unusual

  /** Where a value stands among percentiles, 0..100. @param {number} value @param {number[]} quantiles */
  function percentile(value, quantiles) {
    let below = 0,
      upTo = 0;
    for (const quantile of quantiles) {
      if (quantile < value) below += 1;
      if (quantile <= value) upTo += 1;
    }
    return Math.min(100, Math.max(0, (below + upTo) / 2 - 0.5));
  }

  /** @param {Page} page @param {Run} run */
  function block(page, run) {
    const { say, drawing } = page,
      [, height, width] = run.shape,
      usual = run.data.training_percentiles || {};
    const words = make("ul", { class: "live-words" }),
      rails = make("div", { class: "live-gaps" });
    const rows = Object.keys(usual).map((name) => {
      const pin = make("i"),
        value = make("span");
      rails.append(make("span", {}, say(`gap.${name}`)), make("span", { class: "live-rail" }, pin), value);
      return { name, pin, value };
    });
    /** @type {Picture | null} */
    let mended = null;
    const mend = button(say("gap.mend", { data: PellucidPad.dataName(run) }), () => {
      mended = mendedBy(page, run);
    });
    const element = make("div", { class: "live-block" }, heading(run.view.heads, say("gap")), words, rails);
    element.append(quiet(say("gap.how")), make("p", {}, mend));
    run.view.refreshers.push(() => {
      element.hidden = drawing.empty;
      if (element.hidden) return;
      const found = PellucidStrokes.measure(run.pixels, height, width);
      /** @type {string[]} */
      const lines = [];
      for (const { name, pin, value } of rows) {
        const at = percentile(found[name], usual[name]);
        pin.style.left = `${at}%`;
        value.textContent = say("gap.value", { value: number(found[name]), percentile: Math.round(at) });
        const share = at < 0.5 || at > 99.5 ? "> 99 %" : `${Math.round(Math.max(at, 100 - at))} %`;
        if (at < LOW || at > HIGH) lines.push(say(`gap.${name}.${at < 50 ? "low" : "high"}`, { share }));
      }
      const text = lines.length ? lines : [say("gap.usual")];
      if (words.textContent !== text.join("")) words.replaceChildren(...text.map((line) => make("li", {}, line)));
      mend.hidden = drawing.picture ? mended === drawing.picture : drawing.placed && drawing.pen === "usual";
    });
    return element;
  }

  /** Shows the drawing as the data set's rule would have placed it; the picture made of a picture.
   * @param {Page} page @param {Run} run */
  function mendedBy(page, run) {
    const { drawing } = page,
      { rule } = run.data,
      [, height, width] = run.shape,
      { asInk, placePicture } = PellucidStrokes;
    if (!drawing.picture || !rule) {
      Object.assign(drawing, { placed: true, pen: "usual", touched: true });
      page.changed();
      page.settle();
      return null;
    }
    const pixels = placePicture(asInk(run.pixels, height, width), height, width, rule);
    const picture = PellucidPictures.pictureFrom(page.runs, run, pixels),
      { label } = drawing;
    PellucidPad.act(page, () => drawing.start({ picture, label }));
    return picture;
  }

  return { block };
})();
