"use strict";
// Two parts of the page that answer a reader: guessing the network's answers, and choosing on the map of
// pictures. Without this both are still pictures. Nothing is stored, nothing leaves the page.
(() => {
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const words = JSON.parse(document.getElementById("words").textContent);
  const say = (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const percent = (share) => `${Math.round(share * 100)} %`;

  // The interval of Bonett and Price (2012) for the difference of two shares of the same pictures.
  function difference(helped, hurt, count) {
    const [up, down] = [(helped + 1) / (count + 2), (hurt + 1) / (count + 2)];
    const reach = 1.96 * Math.sqrt((up + down - (up - down) ** 2) / (count + 2));
    return [Math.max(-1, up - down - reach), Math.min(1, up - down + reach)];
  }

  function guessing(room) {
    const questions = all(".guess", room);
    const score = room.querySelector(".score");
    let tally = [];

    function open(number, focus) {
      questions.forEach((question, place) => question.classList.toggle("open", place === number));
      score.hidden = number < questions.length;
      if (number >= questions.length) {
        tell();
        return;
      }
      const question = questions[number];
      const hint = question.querySelector(".hint");
      const ask = question.querySelector(".ask");
      const choices = question.querySelector(".choices");
      const next = question.querySelector(".next");
      let first = null;
      hint.classList.remove("open");
      choices.hidden = false;
      next.hidden = true;
      ask.textContent = say("guess.ask");
      for (const button of all("button", choices)) {
        button.classList.remove("was");
        button.disabled = false;
        button.onclick = () => {
          if (first === null) {
            first = button.value;
            button.classList.add("was");
            hint.classList.add("open");
            ask.textContent = say("guess.again");
            return;
          }
          const { answer } = question.dataset;
          tally.push({ before: first === answer, after: button.value === answer });
          for (const other of all("button", choices)) other.disabled = true;
          ask.textContent = `${say("guess.told", { first, then: button.value })} ${question.querySelector(".told").textContent}`;
          next.hidden = false;
          next.textContent = say(number + 1 < questions.length ? "guess.next" : "guess.end");
          next.onclick = () => open(number + 1, true);
          next.focus({ preventScroll: true });
        };
      }
      if (focus) question.querySelector("h3").focus({ preventScroll: true });
    }

    function tell() {
      const count = tally.length;
      const [before, after] = ["before", "after"].map((when) => tally.filter((one) => one[when]).length);
      const helped = tally.filter((one) => one.after && !one.before).length;
      const hurt = tally.filter((one) => one.before && !one.after).length;
      const [low, high] = difference(helped, hurt, count);
      const points = (share) => `${share < 0 ? "−" : "+"}${Math.round(Math.abs(share) * 100)}`;
      const verdict = say(low > 0 ? "guess.helped" : high < 0 ? "guess.misled" : "guess.luck");
      score.querySelector(".answer").textContent =
        `${verdict} ${say("guess.score", { before, count, after, points: points((after - before) / count), low: points(low), high: points(high), helped, hurt })}`;
    }

    score.querySelector("[name=again]").addEventListener("click", () => {
      tally = [];
      open(0, true);
    });
    open(0, false);
    room.tally = () => tally;
  }

  function mapping(room) {
    const mapped = JSON.parse(document.getElementById("mapped").textContent);
    const planes = all(".plane", room);
    const picked = room.querySelector(".picked");
    const chosenRow = picked.querySelector(".chosen");
    const SHOWN = 60;

    for (const plane of planes) {
      for (const picture of plane.children) picture.title = mapped.says[picture.dataset.n];
      let start = null;
      let box = null;
      const at = (event) => {
        const frame = plane.getBoundingClientRect();
        return [event.clientX - frame.left - plane.clientLeft, event.clientY - frame.top - plane.clientTop];
      };
      const inside = (from, to) => {
        const [left, right] = [from[0], to[0]].sort((a, b) => a - b);
        const [top, bottom] = [from[1], to[1]].sort((a, b) => a - b);
        const near = right - left < 5 && bottom - top < 5 ? 8 : 0; // a click takes what lies under it
        return all(".px", plane).filter((picture) => {
          const [x, y] = [picture.offsetLeft, picture.offsetTop];
          return x >= left - near && x <= right + near && y >= top - near && y <= bottom + near;
        }).map((picture) => Number(picture.dataset.n));
      };
      plane.addEventListener("pointerdown", (event) => {
        start = at(event);
        box = document.createElement("div");
        box.className = "brush";
        plane.append(box);
        plane.setPointerCapture(event.pointerId);
      });
      plane.addEventListener("pointermove", (event) => {
        if (!start) return;
        const now = at(event);
        box.style.left = `${Math.min(start[0], now[0])}px`;
        box.style.top = `${Math.min(start[1], now[1])}px`;
        box.style.width = `${Math.abs(start[0] - now[0])}px`;
        box.style.height = `${Math.abs(start[1] - now[1])}px`;
      });
      const end = (event) => {
        if (!start) return;
        box.remove();
        const from = start;
        start = null;
        if (event.type === "pointerup") choose(inside(from, at(event)));
      };
      plane.addEventListener("pointerup", end);
      plane.addEventListener("pointercancel", end);
    }

    function choose(numbers) {
      const kept = new Set(numbers);
      for (const plane of planes) {
        plane.classList.toggle("some", kept.size > 0);
        for (const picture of all(".px", plane)) picture.classList.toggle("in", kept.has(Number(picture.dataset.n)));
      }
      picked.hidden = kept.size === 0;
      const wrong = numbers.filter((number) => mapped.wrong[number]);
      const counts = new Map();
      for (const number of numbers) counts.set(mapped.true[number], (counts.get(mapped.true[number]) || 0) + 1);
      const classes = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 8).map(([name, count]) => say("map.class", { count, name }));
      picked.querySelector("p").textContent =
        say("map.chosen", { count: numbers.length, wrong: wrong.length, classes: classes.join(", ") });
      chosenRow.replaceChildren(...[...wrong, ...numbers.filter((number) => !mapped.wrong[number])].slice(0, SHOWN).map(thumbnail));
      document.dispatchEvent(new CustomEvent("pellucid-chosen", { detail: kept.size ? numbers.map((number) => mapped.index[number]) : null }));
    }

    function thumbnail(number) {
      const picture = planes[0].querySelector(`[data-n="${number}"]`).cloneNode();
      picture.classList.remove("in");
      picture.style.removeProperty("left");
      picture.style.removeProperty("top");
      picture.setAttribute("role", "img");
      picture.setAttribute("aria-label", mapped.says[number]);
      if (!mapped.wrong[number]) return picture;
      const link = document.createElement("a");
      link.href = `#m${mapped.index[number]}`;
      link.append(picture);
      return link;
    }

    picked.querySelector("[name=clear]").addEventListener("click", () => choose([]));
  }

  const [guess, map] = [document.getElementById("guessing"), document.getElementById("mapping")];
  if (guess && guess.querySelector(".guess")) guessing(guess);
  if (map && map.querySelector(".plane")) mapping(map);
})();
