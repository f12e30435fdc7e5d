// What every page has: htmx, the theme, copying, dialogs, short messages.
import "htmx.org";
import { signIn } from "./api.js";
import { $, $$, FLASH, say, toast } from "./dom.js";

const YEAR_S = 31536000;

// Without TLS, and not on this machine, browsers have no clipboard but the old one.
async function copied(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
  const field = Object.assign(document.createElement("textarea"), { value: text, readOnly: true, className: "sr" });
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

document.addEventListener("click", async (event) => {
  const at = (selector) => event.target.closest(selector);
  const copy = at("[data-copy]");
  if (copy) {
    toast((await copied(copy.dataset.copy)) ? "Copied" : "The browser does not let this page copy");
  } else if (at("[data-open]")) {
    $(`#${CSS.escape(at("[data-open]").dataset.open)}`)?.showModal();
  } else if (at("[data-close]")) {
    at("dialog")?.close();
  } else if (at("[data-theme-toggle]")) {
    const root = document.documentElement;
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    // Read by the server, so that the next page comes in it.
    document.cookie = `lateen_theme=${root.dataset.theme}; Path=/ui; Max-Age=${YEAR_S}; SameSite=Strict`;
  }
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

// The page that a form leads to says what was done, unless it says why not.
document.addEventListener("submit", (event) => {
  const said = event.target.dataset.flash;
  if (said) sessionStorage.setItem(FLASH, said);
  if (event.target.method === "post") for (const button of $$("button[type=submit]", event.target)) button.disabled = true;
});

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input, textarea, select, [contenteditable], .editor");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  const aim = $(`[data-key="${CSS.escape(event.key)}"]`);
  if (aim) {
    event.preventDefault();
    aim.focus();
  }
});

document.addEventListener("htmx:responseError", (event) => {
  const { xhr, elt } = event.detail;
  if (xhr.status === 401) signIn();
  else if (elt.id === "state" && xhr.status === 404) {
    elt.replaceWith(Object.assign(document.createElement("p"), { className: "reason", textContent: "This function is not there any more." }));
  } else if (elt.id !== "state") toast(xhr.responseText.slice(0, 300) || `Lateen answered with status ${xhr.status}.`);
});
document.addEventListener("htmx:sendError", (event) => {
  if (event.detail.elt.id !== "state") toast("Lateen could not be reached. Try again.");
});

let state = "";
document.addEventListener("htmx:afterSettle", () => {
  const now = $("#state")?.dataset.state ?? "";
  if (state && now !== state) say(`The function is ${now}`);
  state = now;
});
document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target.id === "functions") say($(".pages span, h2", event.detail.target)?.textContent ?? "");
});

// A page of ours that led here to sign in anew works on with the new session. Any other opener is out of reach.
function renewOpener() {
  try {
    for (const name of ["data-token", "hx-headers"]) opener?.document.body.setAttribute(name, document.body.getAttribute(name));
  } catch {
    // Of another origin.
  }
}

document.addEventListener("DOMContentLoaded", () => {
  renewOpener();
  state = $("#state")?.dataset.state ?? "";
  const said = sessionStorage.getItem(FLASH);
  if (said) {
    sessionStorage.removeItem(FLASH);
    if (!$("[data-refused]")) toast(said);
  }
});
