// What the fields of a form say, and what is wrong with them.
import { $, $$ } from "./dom.js";
import { pairsOf, setPairs } from "./pairs.js";

const NUMBERS = ["timeout", "memory", "concurrency", "replicas"];
const TEXTS = ["name", "image", "runtime", "handler", "description", "auth"];

// As the API takes them; those that the form has.
export function settingsOf(form) {
  const found = {};
  for (const name of TEXTS) if (form.elements[name]) found[name] = form.elements[name].value.trim();
  for (const name of NUMBERS) if (form.elements[name]) found[name] = Number(form.elements[name].value);
  found.environment = Object.fromEntries(pairsOf("environment"));
  return found;
}

export function setSetting(form, name, value) {
  if (name === "environment") setPairs(name, Object.entries(value));
  else if (form.elements[name]) form.elements[name].value = value;
}

export function clearErrors(form) {
  for (const shown of $$(".error", form)) shown.hidden = true;
  for (const field of $$("[aria-invalid]", form)) field.removeAttribute("aria-invalid");
}

// Each reason beside its field, the rest below the form. The first field that is wrong gets the focus.
export function showErrors(form, { detail, fields, slug }) {
  clearErrors(form);
  const wrong = slug === "already-exists" ? { name: detail } : fields;
  const others = [];
  let first = null;
  for (const [path, reason] of Object.entries(wrong)) {
    const name = path.split(".")[0];
    const error = $(`#${CSS.escape(name)}-error`, form);
    if (!error) {
      others.push(`${path}: ${reason}`);
      continue;
    }
    error.textContent = path === name ? sentence(reason) : `${path.slice(name.length + 1)}: ${reason}`;
    error.hidden = false;
    const details = error.closest("details");
    if (details) details.open = true;
    const input = form.elements[name];
    if (input?.setAttribute) input.setAttribute("aria-invalid", "true");
    first ??= input?.focus ? input : $("input, textarea, button", error.closest(".field, .code"));
  }
  if (!Object.keys(wrong).length) others.push(detail);
  const rest = $("[data-form-error]", form);
  rest.textContent = others.map(sentence).join(" ");
  rest.hidden = !others.length;
  first?.focus();
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// What a browser finds wrong before anything is sent; true: nothing.
export function isComplete(form) {
  clearErrors(form);
  const wrong = {};
  for (const input of form.elements) {
    if (input.name && input.willValidate && !input.checkValidity()) wrong[input.name] = input.validity.valueMissing ? "required" : input.validationMessage;
  }
  const names = pairsOf("environment").map(([name]) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice) wrong[`environment.${twice}`] = "is there twice";
  if (Object.keys(wrong).length) showErrors(form, { detail: "", fields: wrong, slug: "" });
  return !Object.keys(wrong).length;
}

export function showProgress(within, part, text) {
  const box = $("[data-upload]", within);
  box.hidden = part === null;
  if (part === null) return;
  const bar = $("progress", box);
  if (part === undefined) bar.removeAttribute("value");
  else bar.value = part;
  $("[data-upload-text]", box).textContent = text;
}
