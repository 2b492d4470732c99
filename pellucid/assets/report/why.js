// Two parts of the page that answer a reader: guessing the network's predictions, and selecting on the map of
// pictures. Without this both are still pictures. Nothing is stored, nothing leaves the page.
(() => {
  const { find, findAll, readJson, translate } = reportPage;
  const MOST_THUMBNAILS = 60;

  /** @typedef {{ before: boolean, after: boolean }} Guess whether it was right without and with the map */

  /**
   * The interval of Bonett and Price (2012) for the difference of two shares of the same pictures.
   * @param {number} helped
   * @param {number} hurt
   * @param {number} count
   */
  function differenceInterval(helped, hurt, count) {
    const [up, down] = [(helped + 1) / (count + 2), (hurt + 1) / (count + 2)];
    const reach = 1.96 * Math.sqrt((up + down - (up - down) ** 2) / (count + 2));
    return [Math.max(-1, up - down - reach), Math.min(1, up - down + reach)];
  }

  /** @param {Guess[]} guesses */
  function scoreOf(guesses) {
    const count = guesses.length;
    const before = guesses.filter((guess) => guess.before).length;
    const after = guesses.filter((guess) => guess.after).length;
    const helped = guesses.filter((guess) => guess.after && !guess.before).length;
    const hurt = guesses.filter((guess) => guess.before && !guess.after).length;
    const [low, high] = differenceInterval(helped, hurt, count);
    const points = (/** @type {number} */ share) => `${share < 0 ? "−" : "+"}${Math.round(Math.abs(share) * 100)}`;
    const verdict = translate(low > 0 ? "guess.helped" : high < 0 ? "guess.misled" : "guess.luck");
    const figures = translate("guess.score", {
      before, count, after, points: points((after - before) / count), low: points(low), high: points(high),
      helped, hurt,
    });
    return `${verdict} ${figures}`;
  }

  /** @param {HTMLElement} room */
  function startGuessing(room) {
    const questions = findAll(".guess", room);
    const score = find(".score", room);
    /** @type {Guess[]} */
    let guesses = [];

    function open(/** @type {number} */ number, /** @type {boolean} */ focus) {
      questions.forEach((question, place) => question.classList.toggle("open", place === number));
      score.hidden = number < questions.length;
      if (number >= questions.length) {
        find(".answer", score).textContent = scoreOf(guesses);
        return;
      }
      const question = questions[number];
      const choices = find(".choices", question);
      const next = find(".next", question);
      /** @type {string | null} */
      let first = null;
      find(".hint", question).classList.remove("open");
      choices.hidden = false;
      next.hidden = true;
      find(".ask", question).textContent = translate("guess.ask");
      for (const button of findAll("button", choices)) {
        button.classList.remove("was");
        button.disabled = false;
        button.onclick = () => {
          if (first === null) {
            first = button.value;
            button.classList.add("was");
            find(".hint", question).classList.add("open");
            find(".ask", question).textContent = translate("guess.again");
          } else finish(number, first, button.value);
        };
      }
      if (focus) find("h3", question).focus({ preventScroll: true });
    }

    function finish(/** @type {number} */ number, /** @type {string} */ first, /** @type {string} */ then) {
      const question = questions[number];
      const { prediction } = question.dataset;
      guesses.push({ before: first === prediction, after: then === prediction });
      for (const button of findAll(".choices button", question)) button.disabled = true;
      const outcome = find(".outcome", question).textContent;
      find(".ask", question).textContent = `${translate("guess.done", { first, then })} ${outcome}`;
      const next = find(".next", question);
      next.hidden = false;
      next.textContent = translate(number + 1 < questions.length ? "guess.next" : "guess.end");
      next.onclick = () => open(number + 1, true);
      next.focus({ preventScroll: true });
    }

    find("[name=again]", score).addEventListener("click", () => {
      guesses = [];
      open(0, true);
    });
    open(0, false);
  }

  /**
   * Drag a rectangle over a plane, or click: `select` gets the numbers of the pictures in it.
   * @param {HTMLElement} plane
   * @param {(numbers: number[]) => void} select
   */
  function addBrush(plane, select) {
    /** @type {number[] | null} */
    let start = null;
    const box = document.createElement("div");
    box.className = "brush";
    const at = (/** @type {PointerEvent} */ event) => {
      const frame = plane.getBoundingClientRect();
      return [event.clientX - frame.left - plane.clientLeft, event.clientY - frame.top - plane.clientTop];
    };
    plane.addEventListener("pointerdown", (event) => {
      start = at(event);
      box.removeAttribute("style");
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
    const end = (/** @type {PointerEvent} */ event) => {
      if (!start) return;
      box.remove();
      const from = start;
      start = null;
      if (event.type === "pointerup") select(picturesBetween(plane, from, at(event)));
    };
    plane.addEventListener("pointerup", end);
    plane.addEventListener("pointercancel", end);
  }

  /**
   * The numbers of a plane's pictures in a rectangle; a click takes what lies under it.
   * @param {HTMLElement} plane
   * @param {number[]} from
   * @param {number[]} to
   * @returns {number[]}
   */
  function picturesBetween(plane, from, to) {
    const [left, right] = [from[0], to[0]].sort((a, b) => a - b);
    const [top, bottom] = [from[1], to[1]].sort((a, b) => a - b);
    const near = right - left < 5 && bottom - top < 5 ? 8 : 0;
    return findAll(".px", plane).filter((picture) => {
      const [x, y] = [picture.offsetLeft, picture.offsetTop];
      return x >= left - near && x <= right + near && y >= top - near && y <= bottom + near;
    }).map((picture) => Number(picture.dataset.n));
  }

  /** @param {HTMLElement} room */
  function startSelecting(room) {
    /** @type {{ index: number[], label: string[], wrong: boolean[], description: string[] }} */
    const pictures = readJson("embedded");
    const planes = findAll(".plane", room);
    const picked = find(".picked", room);

    function thumbnail(/** @type {number} */ number) {
      const picture = find(`[data-n="${number}"]`, planes[0]).cloneNode();
      picture.classList.remove("in");
      picture.style.left = picture.style.top = "auto";
      picture.setAttribute("role", "img");
      picture.setAttribute("aria-label", pictures.description[number]);
      if (!pictures.wrong[number]) return picture;
      const link = document.createElement("a");
      link.href = `#m${pictures.index[number]}`;
      link.append(picture);
      return link;
    }

    function select(/** @type {number[]} */ numbers) {
      const selected = new Set(numbers);
      for (const plane of planes) {
        plane.classList.toggle("some", selected.size > 0);
        for (const picture of findAll(".px", plane)) {
          picture.classList.toggle("in", selected.has(Number(picture.dataset.n)));
        }
      }
      picked.hidden = selected.size === 0;
      const wrong = numbers.filter((number) => pictures.wrong[number]);
      const right = numbers.filter((number) => !pictures.wrong[number]);
      /** @type {Map<string, number>} */
      const counts = new Map();
      for (const number of numbers) counts.set(pictures.label[number], (counts.get(pictures.label[number]) ?? 0) + 1);
      const classes = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 8)
        .map(([name, count]) => translate("map.class", { count, name })).join(", ");
      find("p", picked).textContent = translate("map.chosen", { count: numbers.length, wrong: wrong.length, classes });
      find(".chosen", picked).replaceChildren(...[...wrong, ...right].slice(0, MOST_THUMBNAILS).map(thumbnail));
      const detail = selected.size ? numbers.map((number) => pictures.index[number]) : null;
      document.dispatchEvent(new CustomEvent("pellucid-selected", { detail }));
    }

    for (const plane of planes) {
      for (const picture of findAll(".px", plane)) picture.title = pictures.description[Number(picture.dataset.n)];
      addBrush(plane, select);
    }
    find("[name=clear]", picked).addEventListener("click", () => select([]));
  }

  if (find("#guessing .guess")) startGuessing(find("#guessing"));
  if (find("#mapping .plane")) startSelecting(find("#mapping"));
})();
