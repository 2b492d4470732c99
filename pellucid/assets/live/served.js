"use strict";
// Opens the page that is served.
(() => {
  const root = document.getElementById("served");
  if (root) PellucidPage.opened(root, () => PellucidColumns.begin(root));
})();
