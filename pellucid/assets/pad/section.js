"use strict";
// Opens the drawing section that stands in a page of its own or in a report.
(() => {
  const root = document.getElementById("live"),
    data = document.getElementById("live-data");
  if (!root || !data) return;
  PellucidPage.opened(root, async () => {
    /** @type {{language: string, words: PageData["words"], refusal: string, pad: PadData | null}} */
    const { language, words, refusal, pad } = JSON.parse(data.textContent || "");
    if (!pad) {
      root.lang = language;
      return PellucidPage.refuse(root, PellucidFormatting.sayer(words[language]), refusal);
    }
    const runs = [{ name: "", model: "", accuracy: null, data: pad }];
    return PellucidPage.mountSection(root, { language, words, runs, disputed: null });
  });
})();
