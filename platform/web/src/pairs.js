// Rows of a name and a value; in a list with `data-lines` a value may have several lines.
import { $, $$, element, svg } from "./dom.js";

const cross = () =>
  svg("svg", { viewBox: "0 0 24 24", width: 16, height: 16, fill: "none", stroke: "currentColor", "stroke-width": 1.75, "aria-hidden": "true" },
    svg("path", { d: "M6 6l12 12M18 6L6 18" }));

export function addPair(list, name = "", value = "") {
  const attributes = { spellcheck: "false", autocomplete: "off" };
  const hasLines = "lines" in list.dataset;
  const row = element(
    "div",
    { class: "pair" },
    element("input", { ...attributes, "aria-label": "Name" }),
    element(hasLines ? "textarea" : "input", { ...attributes, rows: hasLines ? 1 : null, "aria-label": "Value", "data-stored": JSON.stringify(value) }),
    element("button", { class: "quiet icon", type: "button", "data-remove": true, "aria-label": `Remove ${name || "this row"}` }, cross()),
  );
  const [first, second] = fieldsOf(row);
  first.value = name;
  second.value = value;
  list.append(row);
  return row;
}

const fieldsOf = (row) => $$("input, textarea", row);

// A text area has no line ends but \n: what nobody has changed is as it was stored.
function valueOf(field) {
  const stored = JSON.parse(field.dataset.stored ?? '""');
  return field.value === stored.replace(/\r\n?/g, "\n") ? stored : field.value;
}

export const listOf = (name) => $(`[data-pairs="${name}"]`);

// [[name, value], …] of the rows that have a name.
export const pairsOf = (name) =>
  $$(".pair", listOf(name))
    .map(fieldsOf)
    .filter(([key]) => key.value.trim())
    .map(([key, value]) => [key.value.trim(), valueOf(value)]);

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
