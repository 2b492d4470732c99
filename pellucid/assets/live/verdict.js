"use strict";
// Where runs agree and where they do not.
const PellucidVerdict = (() => {
  const { chance } = PellucidFormatting;
  const { make, quiet } = PellucidParts;
  const FAR = 0.2; // probabilities of one class that differ by more are marked
  const NEAR = 0.005; // that differ by less are not spoken of

  /** Says whether the runs agree, and marks what lies far apart. @param {Page} page @param {HTMLElement} verdict */
  function compare(page, verdict) {
    const { runs, drawing } = page;
    verdict.hidden = runs.length < 2;
    if (runs.length < 2) return;
    const answers = runs.map(({ data, answerer }) => data.classes[answerer.last.first]);
    const agree = answers.every((name) => name === answers[0]),
      apart = !drawing.empty && !agree;
    verdict.classList.toggle("side-apart", apart);
    verdict.replaceChildren(...(drawing.empty ? [quiet(page.say("side.draw"))] : linesOf(page, answers, agree)));
    for (const run of runs) {
      run.view.root.classList.toggle("side-alone", apart && isOdd(drawing.label, answers, run.place));
      markFar(run, runs, drawing.empty);
    }
  }

  /** Whether this run's answer is wrong, or where nobody knows what was meant, not that of most.
   * @param {string | null} label @param {string[]} answers @param {number} place */
  function isOdd(label, answers, place) {
    if (label !== null) return answers[place] !== label;
    const votes = answers.filter((name) => name === answers[place]).length;
    return votes <= answers.length - votes;
  }

  /** @param {Page} page @param {string[]} answers @param {boolean} agree */
  function linesOf({ say, runs }, answers, agree) {
    const names = runs.map(({ letter, answerer: { last } }, place) =>
      say("side.says", { run: letter, name: answers[place], share: chance(last.probabilities[last.first]) }),
    );
    const outcome = make("b", {}, agree ? say("side.agree", { name: answers[0] }) : say("side.disagree"));
    const lines = [make("p", {}, outcome, " ", names.join(" · "))],
      apart = farthest(runs);
    if (apart && apart.distance >= NEAR && !(agree && apart.name === answers[0])) {
      const shares = runs.map((run, place) => {
        const probability = apart.probabilities[place];
        return `${run.letter} ${probability === null ? "–" : chance(probability)}`;
      });
      lines.push(quiet(say("side.farthest", { name: apart.name, shares: shares.join(", ") })));
    }
    return lines;
  }

  /** The probability of a class by name; null where the run does not know it. @param {Run} run @param {string} name */
  function probabilityOf({ data, answerer }, name) {
    const label = data.classes.indexOf(name);
    return label < 0 ? null : answerer.last.probabilities[label];
  }

  /** How far apart the probabilities of a class lie. @param {Run[]} runs @param {string} name */
  function spreadOf(runs, name) {
    const known = runs.map((run) => probabilityOf(run, name)).filter((probability) => probability !== null);
    return known.length > 1 ? Math.max(...known) - Math.min(...known) : 0;
  }

  /** The class whose probabilities lie farthest apart. @param {Run[]} runs */
  function farthest(runs) {
    let found = null;
    for (const name of new Set(runs.flatMap(({ data }) => data.classes))) {
      const distance = spreadOf(runs, name);
      if (!found || distance > found.distance) {
        found = { name, distance, probabilities: runs.map((run) => probabilityOf(run, name)) };
      }
    }
    return found;
  }

  /** @param {Run} run @param {Run[]} runs @param {boolean} empty */
  function markFar(run, runs, empty) {
    for (const row of run.view.root.querySelectorAll(".live-bars > li")) {
      const name = row.querySelector(".live-name");
      const far = !empty && name !== null && spreadOf(runs, name.textContent || "") > FAR;
      row.classList.toggle("side-far", far);
    }
  }

  return { compare };
})();
