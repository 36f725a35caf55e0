"use strict";
// The box that selects all items of a list; without scripts it is not shown.
document.addEventListener("DOMContentLoaded", () => {
  const all = document.getElementById("bs-all");
  if (all === null) {
    return;
  }
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const each of document.querySelectorAll("input[name=seen][type=checkbox]")) {
      each.checked = all.checked;
    }
  });
});
