"use strict";
// The page is whole without this: keys, the light or dark switch, and details opened for print.
(() => {
  const root = document.documentElement;
  const theme = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const turn = () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  };
  theme.hidden = false;
  theme.addEventListener("click", turn);

  const sections = [...document.querySelectorAll("main > .part")];
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id).setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const section of sections) watcher.observe(section);

  const mistakes = [...document.querySelectorAll("#worst .tile")];
  let at = -1;
  const step = (by) => {
    if (!mistakes.length) return;
    at = Math.min(mistakes.length - 1, Math.max(0, at + by));
    mistakes[at].focus();
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    const number = Number(event.key);
    if (number >= 1 && number <= sections.length) location.hash = sections[number - 1].id;
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "t") turn();
    else if (event.key === "Escape" && location.hash.startsWith("#pair-")) location.hash = "mistakes";
    else return;
    event.preventDefault();
  });
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details")) part.open = true;
  });
})();
