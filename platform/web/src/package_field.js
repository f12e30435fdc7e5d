// Code as a function gets it: text from the editor, or a file that was dropped or chosen.
import { editorIn } from "./code_view.js";
import { $, element, size } from "./dom.js";

const MOST_TEXT = 512 * 1024;
const MOST = 50 * 1024 * 1024;

// {text, setText, archive, setArchive, file, setFile, base64}. `archive()`: {name, size} of a file that isn't shown, else null.
export function packageField(box, { archive = null, onChange }) {
  const source = $("[data-source]", box);
  const host = element("div", { class: "editor" });
  source.hidden = true;
  source.after(host);
  let file = $("[data-file-name]", box).textContent.trim();
  let given = archive;
  const editor = editorIn(host, { text: source.value, file, label: "Code", onChange });

  const show = () => {
    host.hidden = given !== null;
    $("[data-archive]", box).hidden = given === null;
    $("[data-archive-name]", box).textContent = given?.name ?? "";
    $("[data-archive-size]", box).textContent = given?.size ? size(given.size) : "";
    $("[data-archive-note]", box).hidden = Boolean(given?.blob);
  };
  const refuse = (text) => {
    const error = $("#code-error", box);
    error.textContent = text;
    error.hidden = !text;
  };
  const take = async (taken) => {
    refuse("");
    if (taken.size > MOST) return refuse(`${taken.name} has ${size(taken.size)}; ${size(MOST)} is the most.`);
    const bytes = new Uint8Array(await taken.arrayBuffer());
    const text = bytes.length <= MOST_TEXT && !isZip(bytes) ? textOf(bytes) : null;
    if (text === null) given = { name: taken.name, size: taken.size, blob: taken };
    else {
      given = null;
      editor.setText(text);
    }
    show();
    onChange();
  };

  box.addEventListener("dragover", (event) => {
    event.preventDefault();
    box.classList.add("dropping");
  });
  box.addEventListener("dragleave", (event) => box.contains(event.relatedTarget) || box.classList.remove("dropping"));
  box.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    box.classList.remove("dropping");
    const [first, ...others] = event.dataTransfer.files;
    if (others.length) refuse("One file, please: several go into a zip.");
    else if (first) take(first);
  }, true);
  $("[data-file-input]", box).addEventListener("change", (event) => {
    if (event.target.files[0]) take(event.target.files[0]);
    event.target.value = "";
  });
  $("[data-archive-remove]", box).addEventListener("click", () => {
    given = null;
    show();
    onChange();
    editor.focus();
  });
  show();

  return {
    text: () => editor.text(),
    setText: editor.setText,
    archive: () => given,
    setArchive: (now) => {
      given = now;
      show();
    },
    file: () => file,
    setFile: (name) => {
      file = name;
      $("[data-file-name]", box).textContent = name;
      editor.setFile(name);
    },
    base64: async () => base64Of(given?.blob ?? new Blob([editor.text()])),
  };
}

const isZip = (bytes) => bytes[0] === 0x50 && bytes[1] === 0x4b;

function textOf(bytes) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return text.includes("\0") ? null : text;
  } catch {
    return null;
  }
}

const base64Of = (blob) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Error("The file could not be read."));
    reader.readAsDataURL(blob);
  });
