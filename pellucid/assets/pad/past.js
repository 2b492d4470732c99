"use strict";
// What each snapshot of a run's training answers, and when it first answered what was meant.
const PellucidPast = (() => {
  const { chance, number, percent, whole } = PellucidFormatting;
  const { button, heading, make, quiet } = PellucidParts;
  const PACE = 700; // milliseconds a snapshot, played

  /** @param {Say} say @param {Run} run @param {number} snapshot */
  function snapshotName(say, { data: { snapshots }, snapshots: count }, snapshot) {
    if (!snapshots || snapshot >= count) return say("time.now");
    if (snapshots.steps[snapshot] === 0) return say("time.untrained");
    const epoch = /^epoch ([\d.]+)$/.exec(snapshots.names[snapshot]);
    const step = say("time.step", { step: whole(snapshots.steps[snapshot]) });
    return epoch ? `${say("time.epoch", { epoch: epoch[1] })} (${step})` : step;
  }

  /** @param {Page} page @param {Run} run @param {HTMLElement} section */
  function pastRoom(page, run, section) {
    const { say } = page,
      { snapshots, too_large_for_snapshots: tooLarge } = run.data;
    section.append(heading(run.view.heads, say("time")));
    if (!snapshots) {
      const facts = tooLarge && { weights: whole(tooLarge.weights), limit: whole(tooLarge.limit) };
      section.append(quiet(facts ? say("time.large", facts) : say("time.none")));
      return;
    }
    const note = make("p");
    section.append(...travel(page, run, snapshots), strip(page, run, note), note, quiet(howKept(say, snapshots)));
  }

  /** The slider over snapshots, what it stands at, and a button that plays them.
   * @param {Page} page @param {Run} run @param {SnapshotsData} snapshots */
  function travel(page, run, { accuracy }) {
    const { say } = page,
      label = make("p");
    const slider = make("input", {
      type: "range",
      min: 0,
      max: run.snapshots,
      step: 1,
      "aria-label": say("time.slider"),
      oninput: () => go(page, run, Number(slider.value)),
    });
    const play = button(say("time.play"), () => playing(page, run, play));
    run.view.refreshers.push(() => {
      const { snapshot } = run.choices,
        name = snapshotName(say, run, snapshot);
      slider.value = String(snapshot);
      slider.setAttribute("aria-valuetext", name);
      const known = accuracy && snapshot < run.snapshots;
      label.textContent = known ? `${name} · ${say("time.accuracy", { share: percent(accuracy[snapshot]) })}` : name;
    });
    return [make("div", { class: "live-slide" }, play, slider), label];
  }

  /** A button for every snapshot, as high as the confidence of its answer. It has its name before its answer.
   * @param {Page} page @param {Run} run @param {HTMLElement} note */
  function strip(page, run, note) {
    const { say } = page;
    const cells = Array.from({ length: run.snapshots + 1 }, (_, snapshot) => {
      const fill = make("i"),
        text = make("span"),
        name = snapshotName(say, run, snapshot);
      const onclick = () => go(page, run, snapshot);
      const press = make("button", { type: "button", title: name, "aria-label": name, onclick }, fill, text);
      return { press, fill, text, name };
    });
    run.view.refreshers.push(() => {
      cells.forEach(({ press }, snapshot) =>
        press.setAttribute("aria-pressed", String(snapshot === run.choices.snapshot)),
      );
    });
    run.view.showPast = (answers) => {
      const { classes } = run.data,
        { empty, label } = page.drawing;
      run.pastAnswers = answers;
      const meant = label === null ? -1 : classes.indexOf(label),
        wanted = meant < 0 ? answers[run.snapshots].prediction : meant;
      cells.forEach(({ press, fill, text, name }, snapshot) => {
        const { prediction, confidence } = answers[snapshot];
        const values = { snapshot: name, name: classes[prediction], share: chance(confidence) };
        press.className = prediction === wanted ? "live-right" : "";
        press.title = empty ? name : say("time.cell", values);
        press.setAttribute("aria-label", press.title);
        fill.style.height = empty ? "0" : `${confidence * 100}%`;
        text.textContent = empty ? "" : classes[prediction];
      });
      note.textContent = empty ? "" : since(say, run, answers, wanted);
    };
    run.view.pastFailed = (error) => {
      note.textContent = say("failed", { error: String(error) });
    };
    return make("div", { class: "live-past", role: "group", "aria-label": say("time.strip") }, ...cells.map(({ press }) => press));
  }

  /** When a class was first answered, and since when for good.
   * @param {Say} say @param {Run} run @param {PastAnswer[]} answers @param {number} wanted */
  function since(say, run, answers, wanted) {
    const first = answers.findIndex(({ prediction }) => prediction === wanted);
    let always = answers.length;
    while (always > 0 && answers[always - 1].prediction === wanted) always -= 1;
    const values = {
      name: run.data.classes[wanted],
      snapshot: snapshotName(say, run, Math.max(0, first)),
      since: snapshotName(say, run, Math.min(run.snapshots, always)),
    };
    if (first < 0) return say("time.never", values);
    if (always === answers.length) return say("time.lost", values);
    if (first !== always) return say("time.firstOnly", values);
    if (first === 0) return say("time.always", values);
    return first === run.snapshots ? say("time.onlyNow", values) : say("time.first", values);
  }

  /** @param {Say} say @param {SnapshotsData} snapshots */
  function howKept(say, { bits, agreement, difference, sample_size: count }) {
    const rounded = { bits, agreement: percent(agreement), difference: number(difference), sample_size: whole(count) };
    return `${bits === null ? say("time.kept") : say("time.how", rounded)} ${say("time.place")}`;
  }

  /** To a snapshot. @param {Page} page @param {Run} run @param {number} snapshot */
  function go(page, run, snapshot) {
    page.drawing.touched = true;
    run.choices.snapshot = snapshot;
    page.changed();
    page.settle();
  }

  /** Plays the snapshots, or stops. @param {Page} page @param {Run} run @param {HTMLElement} play */
  function playing(page, run, play) {
    const { view, choices, snapshots } = run;
    if (view.player) {
      clearInterval(view.player);
      view.player = 0;
      play.textContent = page.say("time.play");
      return;
    }
    play.textContent = page.say("time.stop");
    go(page, run, choices.snapshot >= snapshots ? 0 : choices.snapshot + 1);
    view.player = setInterval(() => {
      if (choices.snapshot >= snapshots) playing(page, run, play);
      else go(page, run, choices.snapshot + 1);
    }, PACE);
  }

  return { go, pastRoom };
})();
