"use strict";
// The page is whole without this. It adds keys, the light or dark switch, and a gallery of every mistake.
(() => {
  const root = document.documentElement;
  const $ = (selector, inside = document) => inside.querySelector(selector);
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  root.classList.add("js");

  const THEME = "pellucid-theme";
  const memory = (() => {
    try { return window.localStorage; } catch { return null; } // some browsers keep nothing for files
  })();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = $("#theme");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const label = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
  const turn = () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    memory?.setItem(THEME, root.dataset.theme);
    label();
  };
  const kept = memory?.getItem(THEME);
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  theme.addEventListener("click", turn);
  dark.addEventListener("change", label);
  label();

  const sections = all("main > .part");
  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-25% 0px -70% 0px" });
  for (const section of sections) watcher.observe(section);

  const gallery = $("#browse") ? browse() : null;

  const marked = () => {
    for (const cell of all(".matrix a")) cell.classList.toggle("open", cell.hash === location.hash);
    const wanted = /^#m(\d+)$/.exec(location.hash);
    if (wanted) gallery?.show(Number(wanted[1]));
  };
  addEventListener("hashchange", marked);
  marked();
  addEventListener("load", () => requestAnimationFrame(() => root.classList.add("ready")));

  const help = $("#help");
  $("#keys").addEventListener("click", () => help.showModal());

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (event.target.closest("input, textarea, select")) return;
    const number = Number(event.key);
    if (Number.isInteger(number) && number >= 1 && number <= sections.length) location.hash = sections[number - 1].id;
    else if (event.key === "j") gallery?.step(1);
    else if (event.key === "k") gallery?.step(-1);
    else if (event.key === "/" && gallery) gallery.filter();
    else if (event.key === "t") turn();
    else if (event.key === "?") help.showModal();
    else if (event.key === "Escape" && /^#(pair-|m\d)/.test(location.hash)) location.hash = "mistakes";
    else return;
    event.preventDefault();
  });

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    for (const part of closed) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of closed) part.open = false;
  });

  // Every mistake, sorted and filtered; tiles are made a screenful at a time.
  function browse() {
    const listed = JSON.parse($("#listed").textContent);
    const place = $("#browse");
    const form = $("form", place);
    const tiles = $(".tiles", place);
    const more = $("[name=more]", place);
    const template = $("#tile");
    const PAGE = innerWidth < 600 ? 24 : 60;
    let order = [];
    let made = 0;
    let at = -1;
    let chosen = null; // on the map of pictures: a set of test pictures, or null for all

    $("#worst").remove();
    place.hidden = false;
    const brief = (text, limit) => (text.length <= limit ? text : `${text.slice(0, limit / 2)}…${text.slice(1 - limit / 2)}`);
    const name = (element, text) => {
      element.textContent = brief(text, 24);
      element.title = text;
    };
    const choices = (select, labels) => {
      for (const label of new Set([...labels].sort((a, b) => a - b))) {
        select.add(new Option(brief(listed.classes[label], 24), label));
      }
    };
    choices(form.elements.namedItem("true"), listed.true);
    choices(form.elements.predicted, listed.predicted);

    const chance = (p) => (p >= 0.9995 && p < 1 ? "> 99.9 %" : p > 0 && p < 0.0005 ? "< 0.1 %" : `${(p * 100).toFixed(1)} %`);
    const fill = (element, value) => {
      element.textContent = chance(value);
      element.value = value;
    };

    function tile(n) {
      const figure = template.content.firstElementChild.cloneNode(true);
      const [is, was] = [listed.classes[listed.true[n]], listed.classes[listed.predicted[n]]];
      figure.id = `m${listed.index[n]}`;
      const picture = $("i", figure);
      picture.style.setProperty("--x", listed.place[n] % listed.columns);
      picture.style.setProperty("--y", Math.floor(listed.place[n] / listed.columns));
      picture.setAttribute("role", "img");
      picture.setAttribute("aria-label", `${listed.source[n]}: labelled ${is}, predicted ${was} (${chance(listed.sure[n])}), ${is} had ${chance(listed.given[n])}`);
      const [predicted, true_, source] = all("bdi", figure);
      name(predicted, was);
      name(true_, is);
      source.textContent = brief(listed.source[n], 40);
      source.parentElement.title = listed.source[n];
      const [sure, given] = all("data", figure);
      fill(sure, listed.sure[n]);
      fill(given, listed.given[n]);
      return figure;
    }

    function grow(until = made + PAGE) {
      const fragment = document.createDocumentFragment();
      for (; made < Math.min(until, order.length); made += 1) fragment.append(tile(order[made]));
      tiles.append(fragment);
      more.hidden = made >= order.length;
    }

    function arrange() {
      const [is, was] = [form.elements.namedItem("true").value, form.elements.predicted.value];
      const word = form.elements.source.value.trim().toLowerCase();
      order = listed.index.map((_, n) => n).filter((n) =>
        (is === "" || listed.true[n] === Number(is)) &&
        (was === "" || listed.predicted[n] === Number(was)) &&
        (chosen === null || chosen.has(listed.index[n])) &&
        (word === "" || listed.source[n].toLowerCase().includes(word)));
      const by = form.elements.order.value;
      if (by === "sure") order.sort((a, b) => listed.sure[b] - listed.sure[a]);
      if (by === "index") order.sort((a, b) => listed.index[a] - listed.index[b]);
      tiles.replaceChildren();
      made = 0;
      at = -1;
      $(".tally", place).textContent = `${order.length.toLocaleString("en")} of ${listed.index.length.toLocaleString("en")}`;
      grow();
    }

    function focus(n) {
      at = n;
      if (at >= made) grow(at + PAGE);
      const figure = tiles.children[at];
      figure.focus({ preventScroll: true });
      figure.scrollIntoView({ block: "nearest" });
      history.replaceState(null, "", `#${figure.id}`);
    }

    form.addEventListener("input", arrange);
    document.addEventListener("pellucid-chosen", (event) => {
      chosen = event.detail && new Set(event.detail);
      arrange();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    more.addEventListener("click", () => grow());
    form.elements.copy.addEventListener("click", async (event) => {
      const text = order.map((n) => listed.source[n] || `test picture ${listed.index[n]}`).join("\n");
      const button = event.currentTarget;
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = `Copied ${order.length}`;
      } catch {
        button.textContent = "Could not copy";
      }
      setTimeout(() => { button.textContent = "Copy sources"; }, 2000);
    });
    arrange();

    return {
      step(by) {
        if (order.length) focus(Math.min(order.length - 1, Math.max(0, at + by)));
      },
      filter() {
        form.elements.source.focus();
      },
      show(index) {
        const n = order.findIndex((entry) => listed.index[entry] === index);
        if (n >= 0) focus(n);
      },
    };
  }
})();
