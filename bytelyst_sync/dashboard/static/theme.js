/* Before the first paint: the colours that were chosen, if any. */
(() => {
  "use strict";
  let chosen = null;
  try { chosen = localStorage.getItem("bs-theme"); } catch { /* storage is off: as the system */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
