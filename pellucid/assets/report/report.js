"use strict";
// The page is whole without this. It adds keys, the light or dark switch, and a gallery of every mistake.
(() => {
  const root = document.documentElement;
  const $ = (selector, inside = document) => inside.querySelector(selector);
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  root.classList.add("js");
  const words = JSON.parse($("#words").textContent);
  const say = (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);

  const THEME = "pellucid-theme";
  const memory = (() => {
    try { return window.localStorage; } catch { return null; } // some browsers keep nothing for files
  })();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = $("#theme");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const label = () => { theme.textContent = isDark() ? words.light : words.dark; };
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
    if (/^#(m\d+$|mistakes;)/.test(location.hash)) gallery?.go(location.hash);
  };
  addEventListener("hashchange", marked);
  marked();
  addEventListener("load", () => requestAnimationFrame(() => root.classList.add("ready")));

  const help = $("#help");
  $("#keys").addEventListener("click", () => help.showModal());

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open || $("dialog[open]")) return;
    if (event.target.closest("input, textarea, select")) return;
    const number = Number(event.key);
    if (Number.isInteger(number) && number >= 1 && number <= sections.length) location.hash = sections[number - 1].id;
    else if (event.key === "j") gallery?.step(1);
    else if (event.key === "k") gallery?.step(-1);
    else if (event.key === "/" && gallery) gallery.filter();
    else if (event.key === "t") turn();
    else if (event.key === "?") help.showModal();
    else if (event.key === "Escape" && /^#(pair-|m\d|mistakes;)/.test(location.hash)) location.hash = "mistakes";
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
    const album = pictures(listed);
    window.pellucidPictures = album;
    const large = lens();
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

    const source = (n) => listed.source[n] || say("picture", { number: listed.index[n] });
    const told = (n) => say("tile", {
      source: source(n), true: listed.classes[listed.true[n]], predicted: listed.classes[listed.predicted[n]],
      sure: chance(listed.sure[n]), given: chance(listed.given[n]),
    });

    function tile(n) {
      const figure = template.content.firstElementChild.cloneNode(true);
      const [is, was] = [listed.classes[listed.true[n]], listed.classes[listed.predicted[n]]];
      figure.id = `m${listed.index[n]}`;
      const picture = $("i", figure);
      picture.style.setProperty("--x", listed.place[n] % listed.columns);
      picture.style.setProperty("--y", Math.floor(listed.place[n] / listed.columns));
      picture.setAttribute("role", "img");
      picture.setAttribute("aria-label", told(n));
      picture.title = told(n);
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
      if (by === "close") order.sort((a, b) => listed.sure[a] - listed.given[a] - listed.sure[b] + listed.given[b]);
      if (by === "index") order.sort((a, b) => listed.index[a] - listed.index[b]);
      if (by === "source") order.sort((a, b) => listed.source[a].localeCompare(listed.source[b], "en", { numeric: true }));
      tiles.replaceChildren();
      made = 0;
      at = -1;
      const [shown, all_] = [order.length, listed.index.length].map((count) => count.toLocaleString("en"));
      $(".tally", place).textContent = say("tally", { shown, all: all_ });
      grow();
    }

    // The address of what is seen: #m123 alone, or #mistakes;true=4;predicted=9;order=sure;source=a;m=123
    const FILTERS = { true: "", predicted: "", source: "", order: "worst" };
    function address(n = at) {
      const chosen = Object.entries(FILTERS)
        .map(([field, usual]) => [field, form.elements.namedItem(field).value, usual])
        .filter(([, value, usual]) => value !== usual)
        .map(([field, value]) => `${field}=${encodeURIComponent(value)}`);
      const index = order[n] === undefined ? null : listed.index[order[n]];
      if (!chosen.length) return index === null ? "#mistakes" : `#m${index}`;
      return ["#mistakes", ...chosen, ...(index === null ? [] : [`m=${index}`])].join(";");
    }
    const remember = () => history.replaceState(null, "", address());

    function focus(n) {
      at = n;
      if (at >= made) grow(at + PAGE);
      const figure = tiles.children[at];
      figure.focus({ preventScroll: true });
      figure.scrollIntoView({ block: "nearest" });
      remember();
    }

    // What an address says is checked like anything else that comes from outside.
    function go(text) {
      const parts = Object.fromEntries(text.slice(1).split(";").slice(1).map((part) => {
        const [field, value = ""] = part.split(/=(.*)/s);
        try { return [field, decodeURIComponent(value)]; } catch { return [field, ""]; }
      }));
      for (const [field, usual] of Object.entries(FILTERS)) {
        const control = form.elements.namedItem(field);
        control.value = Object.hasOwn(parts, field) ? parts[field] : usual;
        if (control.selectedIndex === -1) control.value = usual;
      }
      arrange();
      const index = Number((/^#m(\d+)$/.exec(text) || [])[1] ?? parts.m ?? NaN);
      const n = order.findIndex((entry) => listed.index[entry] === index);
      if (n >= 0) focus(n);
      else place.scrollIntoView();
    }

    function lens() {
      const dialog = $("#large");
      const show = (n) => {
        focus(n);
        const entry = order[n];
        const figure = tiles.children[n].cloneNode(true);
        figure.removeAttribute("id");
        figure.removeAttribute("tabindex");
        $(".shown", dialog).replaceChildren(figure);
        $("[name=previous]", dialog).disabled = n === 0;
        $("[name=next]", dialog).disabled = n === order.length - 1;
        const draw = $("a", dialog);
        draw.hidden = !document.getElementById("live-data") || !album.fits(window.pellucid?.runs[0]?.shape);
        draw.href = `#draw;t=${listed.index[entry]}`;
        if (!dialog.open) dialog.showModal();
      };
      const step = (by) => show(Math.min(order.length - 1, Math.max(0, at + by)));
      $("[name=previous]", dialog).addEventListener("click", () => step(-1));
      $("[name=next]", dialog).addEventListener("click", () => step(1));
      $("a", dialog).addEventListener("click", () => dialog.close());
      dialog.addEventListener("keydown", (event) => {
        const by = { ArrowLeft: -1, k: -1, ArrowRight: 1, j: 1 }[event.key];
        if (by) step(by);
      });
      dialog.addEventListener("close", () => tiles.children[at]?.focus({ preventScroll: true }));
      return show;
    }

    tiles.addEventListener("click", (event) => {
      const figure = event.target.closest(".tile");
      if (figure && !getSelection().toString()) large([...tiles.children].indexOf(figure));
    });
    tiles.addEventListener("keydown", (event) => {
      const here = [...tiles.children].indexOf(event.target);
      if (here < 0) return;
      const wide = getComputedStyle(tiles).gridTemplateColumns.split(" ").length;
      const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -wide, ArrowDown: wide }[event.key];
      if (by) focus(Math.min(order.length - 1, Math.max(0, here + by)));
      else if (event.key === "Enter") large(here);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    document.addEventListener("pellucid-chosen", (event) => {
      chosen = event.detail && new Set(event.detail);
      arrange();
    });
    form.addEventListener("input", () => {
      arrange();
      remember();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    more.addEventListener("click", () => grow());
    const copying = form.elements.copy.textContent;
    form.elements.copy.addEventListener("click", async (event) => {
      const text = order.map((n) => source(n)).join("\n");
      const button = event.currentTarget;
      const before = copying;
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = say("copied", { count: order.length });
      } catch {
        button.textContent = words.uncopied;
      }
      setTimeout(() => { button.textContent = before; }, 2000);
    });
    form.elements.save.addEventListener("click", () => {
      const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
      const rows = order.map((n) => [
        listed.index[n], listed.source[n], listed.classes[listed.true[n]], listed.classes[listed.predicted[n]],
        listed.sure[n], listed.given[n],
      ]);
      const table = [["index", "source", "label", "prediction", "p(prediction)", "p(label)"], ...rows];
      const text = table.map((row) => row.map((cell) => quoted(String(cell))).join(",")).join("\n");
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([`\ufeff${text}\n`], { type: "text/csv" })); // the mark tells Excel: UTF-8
      link.download = "mistakes.csv";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    arrange();

    return {
      step(by) {
        if (order.length) focus(Math.min(order.length - 1, Math.max(0, at + by)));
      },
      filter() {
        form.elements.source.focus();
      },
      go,
    };
  }

  // The pixels of listed test pictures, (C, H, W) bytes as the page holds them, for whoever draws on them.
  function pictures(listed) {
    const sample = $("#tile").content.firstElementChild.querySelector("i").cloneNode();
    sample.style.display = "none";
    document.body.append(sample);
    const style = getComputedStyle(sample);
    const [width, height] = ["--w", "--h"].map((name) => Number(style.getPropertyValue(name)));
    let sheet = null;
    const opened = () => {
      if (!sheet) {
        sheet = new Image();
        sheet.src = /^url\("(data:image[^"]*)"\)$/.exec(style.backgroundImage)[1];
      }
      return sheet.decode().then(() => sheet);
    };
    return {
      fits: (shape) => Boolean(shape) && shape[1] === height && shape[2] === width,
      label: (index) => listed.true[listed.index.indexOf(index)],
      async at(index, channels) {
        const n = listed.index.indexOf(index);
        if (n < 0) return null;
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [width, height];
        const context = canvas.getContext("2d", { willReadFrequently: true });
        const [x, y] = [listed.place[n] % listed.columns, Math.floor(listed.place[n] / listed.columns)];
        context.drawImage(await opened(), x * width, y * height, width, height, 0, 0, width, height);
        const { data } = context.getImageData(0, 0, width, height);
        return Uint8Array.from({ length: channels * height * width }, (_, at) =>
          data[(at % (height * width)) * 4 + Math.floor(at / (height * width))]);
      },
    };
  }
})();
