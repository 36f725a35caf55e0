/* What the pages do beyond HTML. All of it is optional: without this file they work as well. */
(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("bs-script");

  /* --- the poll: conditional, and none while the tab is hidden --- */

  const poll = () => document.getElementById("poll");
  const token = () => document.getElementById("ops").dataset.token;

  document.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.elt !== poll()) return;
    if (document.hidden) { event.preventDefault(); return; }
    event.detail.headers["If-None-Match"] = `"${token()}"`;
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && poll()) window.htmx.trigger(poll(), "look");
  });
  const mark = (text) => {
    for (const each of document.querySelectorAll("[data-live]")) {
      if (each.textContent !== text) each.textContent = text;
    }
  };
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.elt !== poll()) return;
    const status = event.detail.xhr.status;
    mark(status === 304 || (status >= 200 && status < 300) ? "Live" : "Not live: refresh");
  });

  /* --- what a person has changed on a page stays as it is --- */

  const changed = (node) => {
    if (node === document.activeElement) return true;
    if (node.matches("input[type=checkbox], input[type=radio]")) {
      return node.checked !== node.defaultChecked || node.dataset.touched !== undefined;
    }
    if (node.matches("textarea, input:not([type=hidden])")) return node.value !== node.defaultValue;
    if (node.matches("select")) return node.dataset.touched !== undefined;
    return node.matches("details, dialog");
  };
  const theirs = new Set(["checked", "value", "open", "selected", "data-touched"]);
  document.addEventListener("change", (event) => {
    if (event.target.matches("input, select, textarea")) event.target.dataset.touched = "";
  });
  window.Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => {
    if (node.dataset.script !== undefined && name === "hidden") return false;
    if (node.dataset.themeChoice !== undefined && name === "aria-pressed") return false;
    if (!theirs.has(name)) return true;
    const owner = node.matches("option") ? node.closest("select") : node;
    return !changed(owner);
  };
  window.Idiomorph.defaults.restoreFocus = true;

  /* --- how long ago --- */

  const units = [[172800, 86400, "d"], [7200, 3600, "h"], [120, 60, "min"], [0, 1, "s"]];
  const ago = (seconds) => {
    const size = Math.abs(seconds);
    if (size < 1) return "now";
    const [, unit, name] = units.find(([least]) => size >= least);
    const text = `${Math.round(size / unit)} ${name}`;
    return seconds > 0 ? `in ${text}` : `${text} ago`;
  };
  const moments = () => {
    for (const each of document.querySelectorAll("time[data-moment]")) {
      const when = new Date(each.dateTime);
      if (!each.title) each.title = each.textContent;
      const seconds = (when - Date.now()) / 1000;
      const text = each.dataset.moment === "due" && seconds < 0 ? "due" : ago(seconds);
      if (each.textContent !== text) each.textContent = text;
    }
  };
  setInterval(() => { if (!document.hidden) moments(); }, 1000);

  /* --- colours --- */

  const theme = (chosen) => {
    if (chosen) root.dataset.theme = chosen; else delete root.dataset.theme;
    for (const each of document.querySelectorAll("[data-theme-choice]")) {
      each.setAttribute("aria-pressed", String(each.dataset.themeChoice === chosen));
    }
  };

  /* --- clicks --- */

  document.addEventListener("click", (event) => {
    const at = event.target.closest("[data-theme-choice], [data-dialog], [data-close]");
    if (!at) return;
    if (at.dataset.themeChoice !== undefined) {
      theme(at.dataset.themeChoice);
      try { localStorage.setItem("bs-theme", at.dataset.themeChoice); } catch { /* as above */ }
      return;
    }
    const dialog = at.dataset.dialog
      ? document.getElementById(at.dataset.dialog)
      : at.closest("dialog");
    if (!dialog) return;
    event.preventDefault();
    if (at.dataset.dialog) {
      if (!dialog.open) dialog.showModal();
    } else {
      dialog.close();
    }
  });

  /* --- select all that is shown --- */

  const boxes = () => [...document.querySelectorAll('#decide input[name="seen"]')];
  const selection = () => {
    const all = document.querySelector("[data-select-all]");
    if (!all) return;
    const found = boxes();
    const chosen = found.filter((each) => each.checked).length;
    all.checked = chosen > 0 && chosen === found.length;
    all.indeterminate = chosen > 0 && chosen < found.length;
  };
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-select-all]")) {
      for (const each of boxes()) {
        each.checked = event.target.checked;
        each.dataset.touched = "";
      }
    }
    selection();
    const form = event.target.closest("form[data-preview]");
    if (form) preview(form);
  });

  /* --- the merged record follows the choices --- */

  const preview = (form) => {
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(form)) {
      if (name.startsWith("field.") || name === "payload") query.append(name, value);
    }
    window.htmx.ajax("GET", `${form.dataset.preview}?${query}`, {
      source: form, target: "#merged", select: "#merged", swap: "outerHTML",
    });
  };

  const dress = () => {
    for (const each of document.querySelectorAll("[data-script]")) each.hidden = false;
    theme(root.dataset.theme || "");
    moments();
    selection();
  };
  document.addEventListener("htmx:afterSwap", dress);
  dress();
  if (poll()) mark("Live");
})();
