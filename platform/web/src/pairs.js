// Rows of a name and a value.
import { $, $$, element, svg } from "./dom.js";

const cross = () =>
  svg("svg", { viewBox: "0 0 24 24", width: 16, height: 16, fill: "none", stroke: "currentColor", "stroke-width": 1.75, "aria-hidden": "true" },
    svg("path", { d: "M6 6l12 12M18 6L6 18" }));

export function addPair(list, name = "", value = "") {
  const attributes = { spellcheck: "false", autocomplete: "off" };
  const row = element(
    "div",
    { class: "pair" },
    element("input", { ...attributes, "aria-label": "Name" }),
    element("input", { ...attributes, "aria-label": "Value" }),
    element("button", { class: "quiet icon", type: "button", "data-remove": true, "aria-label": `Remove ${name || "this row"}` }, cross()),
  );
  const [first, second] = $$("input", row);
  first.value = name;
  second.value = value;
  list.append(row);
  return row;
}

export const listOf = (name) => $(`[data-pairs="${name}"]`);

// [[name, value], …] of the rows that have a name.
export const pairsOf = (name) =>
  $$(".pair", listOf(name))
    .map((row) => $$("input", row).map((input) => input.value))
    .filter(([key]) => key.trim())
    .map(([key, value]) => [key.trim(), value]);

export function setPairs(name, pairs) {
  listOf(name).replaceChildren();
  for (const [key, value] of pairs) addPair(listOf(name), key, value);
}

export function watchPairs(form) {
  form.addEventListener("click", (event) => {
    const add = event.target.closest("[data-add]");
    if (add) $("input", addPair(listOf(add.dataset.add))).focus();
    const remove = event.target.closest("[data-remove]");
    if (remove) {
      const list = remove.closest(".pairs");
      remove.closest(".pair").remove();
      ($("input", list) ?? $(`[data-add="${list.dataset.pairs}"]`)).focus();
      form.dispatchEvent(new Event("input", { bubbles: true }));
    }
  });
}
