"use strict";
// Names of layers as a person reads them: explanation/layer_names.py in the page.
const PellucidLayerNames = (() => {
  const { folded_from: FOLDED } = PellucidConstants.layers; // layers of which the inner ones of a stage are folded

  /** "stage 2, block 1: narrowed" for "backbone.stage2.0.project"; a name that is not known as it is.
   * @param {Say} say @param {string} name */
  function title(say, name) {
    const [key, run] = name.replace(/^backbone\./, "").split("#"),
      again = run ? ` (${run})` : "",
      parts = /^stage(\d+)\.(\d+)\.(\w+)$/.exec(key);
    if (!parts) return known(say, key, key) + again;
    const part = known(say, `block.${parts[3]}`, parts[3]);
    return say("name.part", { stage: parts[1], block: Number(parts[2]) + 1, part }) + again;
  }

  /** @param {Say} say @param {string} key @param {string} otherwise */
  function known(say, key, otherwise) {
    const found = say(`name.${key}`);
    return found === `name.${key}` ? otherwise : found;
  }

  /** The stage that a layer is part of; "" without one. @param {string} name */
  function stageOf(name) {
    const found = /^(?:backbone\.)?stage(\d+)\./.exec(name);
    return found ? found[1] : "";
  }

  /**
   * Layers one after the other, those of a stage together where there are many.
   * @param {Layer[]} layers
   * @returns {{stage: string, layers: Layer[]}[]}
   */
  function grouped(layers) {
    /** @type {{stage: string, layers: Layer[]}[]} */
    const groups = [];
    for (const layer of layers) {
      const stage = layers.length >= FOLDED ? stageOf(layer.name) : "",
        last = groups[groups.length - 1];
      if (last && stage && last.stage === stage) last.layers.push(layer);
      else groups.push({ stage, layers: [layer] });
    }
    return groups;
  }

  return { grouped, title };
})();
