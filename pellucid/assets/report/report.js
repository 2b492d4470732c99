// The page is whole without this. It adds keys, the light or dark switch, and opens everything for print.
(() => {
  const { find, findAll, translate } = reportPage;
  const root = document.documentElement;
  root.classList.add("js");

  /** The button that switches between light and dark, remembered where the browser remembers for files. */
  function addThemeSwitch() {
    const key = "pellucid-theme";
    const memory = (() => {
      try { return window.localStorage; } catch { return null; }
    })();
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const button = find("#theme");
    const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
    const label = () => { button.textContent = translate(isDark() ? "light" : "dark"); };
    const toggle = () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      memory?.setItem(key, root.dataset.theme);
      label();
    };
    const remembered = memory?.getItem(key);
    if (remembered === "light" || remembered === "dark") root.dataset.theme = remembered;
    button.addEventListener("click", toggle);
    dark.addEventListener("change", label);
    label();
    return toggle;
  }

  /**
   * The link of the section in view is marked in the list of sections.
   * @param {HTMLElement[]} sections
   */
  function markSectionInView(sections) {
    const links = new Map(findAll("nav a").map((link) => [link.hash.slice(1), link]));
    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        for (const link of links.values()) link.removeAttribute("aria-current");
        links.get(entry.target.id)?.setAttribute("aria-current", "true");
      }
    }, { rootMargin: "-25% 0px -70% 0px" });
    for (const section of sections) watcher.observe(section);
  }

  /** What is folded is opened for print, and folded again. */
  function openForPrint() {
    /** @type {HTMLDetailsElement[]} */
    let closed = [];
    addEventListener("beforeprint", () => {
      closed = findAll("details:not([open])");
      for (const details of closed) details.open = true;
    });
    addEventListener("afterprint", () => {
      for (const details of closed) details.open = false;
    });
  }

  /** The keys that the list of keys names. */
  function addKeys() {
    const help = find("#help");
    find("#keys").addEventListener("click", () => help.showModal());
    addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || help.open || find("dialog[open]")) return;
      if (event.target instanceof Element && event.target.closest("input, textarea, select")) return;
      const number = Number(event.key);
      if (Number.isInteger(number) && number >= 1 && number <= sections.length) {
        location.hash = sections[number - 1].id;
      } else if (event.key === "j") gallery?.step(1);
      else if (event.key === "k") gallery?.step(-1);
      else if (event.key === "/" && gallery) gallery.focusFilter();
      else if (event.key === "t") toggleTheme();
      else if (event.key === "?") help.showModal();
      else if (event.key === "Escape" && /^#(pair-|m\d|mistakes;)/.test(location.hash)) location.hash = "mistakes";
      else return;
      event.preventDefault();
    });
  }

  /** The cell of the matrix and the mistake that the address names. */
  function showAddress() {
    for (const cell of findAll(".matrix a")) cell.classList.toggle("open", cell.hash === location.hash);
    if (/^#(m\d+$|mistakes;)/.test(location.hash)) gallery?.open(location.hash);
  }

  const sections = findAll("main > .part");
  const gallery = find("#browse") ? new MistakeGallery() : null;
  const toggleTheme = addThemeSwitch();
  markSectionInView(sections);
  openForPrint();
  addKeys();
  addEventListener("hashchange", showAddress);
  showAddress();
  addEventListener("load", () => requestAnimationFrame(() => root.classList.add("ready")));
})();
