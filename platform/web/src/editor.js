// The pages with an editor: a new function, and the code and settings of one.
import { SIGN_IN, api, parsed, refusal, upload } from "./api.js";
import { differenceIn } from "./code_view.js";
import { $, FLASH, element, size, toast } from "./dom.js";
import { packageField } from "./package_field.js";
import { watchPairs } from "./pairs.js";
import { clearErrors, isComplete, setSetting, settingsOf, showErrors, showProgress } from "./settings_form.js";

const LABELS = {
  name: "Name", runtime: "Runtime", handler: "Handler", description: "Description", environment: "Environment", timeout: "Timeout, seconds",
  image: "Image", memory: "Memory, MiB", auth: "Who may call its URL", concurrency: "Calls a pod runs at a time", replicas: "Pods",
};

const send = (within, method, path, body, headers) => {
  const whole = body.length;
  return upload(method, path, {
    body,
    headers,
    // Short ones are over before anybody has read it.
    onProgress: (part) => {
      if (whole < 256 * 1024) return;
      if (part < 1) showProgress(within, part, `${Math.floor(part * 100)} % of ${size(whole)}`);
      else showProgress(within, undefined, "Sent. Lateen stores it.");
    },
  }).finally(() => showProgress(within, null));
};

// Without a session, what was written stays, and is saved with the next one.
function showRefusal(form, answer) {
  const refused = refusal(answer.body, answer.status);
  if (answer.status !== 401 && refused.slug !== "page-out-of-date") return void showErrors(form, refused);
  clearErrors(form);
  const shown = $("[data-form-error]", form);
  // With an opener, so that the other tab can bring the new session here.
  shown.replaceChildren("You were signed out. ", element("a", { href: SIGN_IN, target: "_blank", rel: "opener" }, "Sign in in another tab"), ", then save again.");
  shown.hidden = false;
}

// What else a page asks for by itself must not lead away from what was written.
document.addEventListener("htmx:beforeOnLoad", (event) => {
  if (event.detail.xhr.getResponseHeader("HX-Redirect")) event.preventDefault();
});

function chosenRuntime(form) {
  return form.elements.runtime.selectedOptions[0];
}

function create(form) {
  const box = $("[data-field=code]", form);
  let starter = chosenRuntime(form).dataset.starter;
  const code = packageField(box, { onChange: () => {} });
  const before = JSON.stringify(settingsOf(form));
  let isSaved = false;
  watchPairs(form);
  window.addEventListener("beforeunload", (event) => {
    const isWritten = code.archive() || code.text().trimEnd() !== starter.trimEnd() || JSON.stringify(settingsOf(form)) !== before;
    if (isWritten && !isSaved) event.preventDefault();
  });
  // Sent again after a lost answer, it is the same request.
  let attempt = { body: "", key: "" };

  form.elements.runtime.addEventListener("change", () => {
    const { file, starter: next } = chosenRuntime(form).dataset;
    // What somebody has written stays.
    if (code.text().trimEnd() === starter.trimEnd()) code.setText(next);
    starter = next;
    code.setFile(file);
  });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!isComplete(form)) return;
    const button = $("button[type=submit]", form);
    button.disabled = true;
    try {
      const asked = settingsOf(form);
      if (!asked.handler) delete asked.handler;
      const body = JSON.stringify({ ...asked, code: await code.base64() });
      if (attempt.body !== body) attempt = { body, key: randomKey() };
      const path = `/api/workspaces/${encodeURIComponent(form.dataset.create)}/functions`;
      const answer = await send(form, "POST", path, body, { "Idempotency-Key": attempt.key });
      if (answer.status === 201) {
        isSaved = true;
        location.assign(`/ui/functions/${answer.body.id}`);
      } else showRefusal(form, answer);
    } catch (error) {
      showErrors(form, { detail: error.message, fields: {}, slug: "" });
    } finally {
      button.disabled = false;
    }
  });
}

const randomKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

// Of a function that is an image.
const NO_CODE = { text: () => "", archive: () => null, setText: () => {}, setArchive: () => {} };

function edit(form) {
  const page = $("#function");
  const path = `/api/functions/${page.dataset.function}`;
  const review = $("#review");
  const stored = form.dataset.isArchive ? { name: "A zip", size: 0 } : null;
  const box = $("[data-field=code]", form);
  const code = box ? packageField(box, { archive: stored, onChange: changed }) : NO_CODE;
  const before = { settings: settingsOf(form), text: code.text(), archive: stored };
  let revision = page.dataset.revision;
  watchPairs(form);
  form.addEventListener("input", changed);
  form.elements.runtime?.addEventListener("change", () => chosenRuntime(form).dataset.file && code.setFile(chosenRuntime(form).dataset.file));

  function hasNewCode() {
    return code.archive() ? code.archive() !== before.archive : before.archive !== null || code.text() !== before.text;
  }

  function changes(from = before.settings) {
    const now = settingsOf(form);
    return Object.keys(now).filter((name) => JSON.stringify(sorted(now[name])) !== JSON.stringify(sorted(from[name])));
  }

  function changed() {
    // Called by the editor once before there is anything to compare.
    queueMicrotask(() => ($("[data-unchanged]", form).hidden = changes().length > 0 || hasNewCode()));
  }

  window.addEventListener("beforeunload", (event) => {
    if (!review.dataset.saved && (changes().length || hasNewCode())) event.preventDefault();
  });

  // The state that every function page asks for also says which revision there is.
  document.addEventListener("htmx:afterSettle", () => {
    const now = $("#state")?.dataset.revision;
    $("#newer").hidden = !now || now === revision || Boolean(review.dataset.saved);
    $("[data-newer-revision]").textContent = now ?? "";
  });

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!isComplete(form)) return;
    if (!changes().length && !hasNewCode()) return void toast("Nothing is changed");
    show(before.settings, before.text, before.archive);
    $("[data-conflict]", review).hidden = true;
    $("[data-take]", review).hidden = true;
    $("[data-confirm]", review).textContent = "Save";
    $("#review-title").textContent = "Save these changes?";
    review.showModal();
  });

  function show(settings, text, archive) {
    const box = $("[data-differences]", review);
    box.replaceChildren();
    $("[data-review-error]", review).hidden = true;
    const now = settingsOf(form);
    const names = changes(settings);
    if (names.length) {
      const rows = names.map((name) => element("tr", {}, element("th", { scope: "row" }, LABELS[name] ?? name), cell(settings[name], "removed"), cell(now[name], "added")));
      box.append(element("table", { class: "differences" },
        element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Setting"), element("th", { scope: "col" }, "Saved"), element("th", { scope: "col" }, "Yours"))),
        element("tbody", {}, ...rows)));
    }
    if (code.archive()?.blob) {
      box.append(element("p", {}, `Code: ${archive ? "the zip" : code.file()} is replaced by ${code.archive().name}, ${size(code.archive().size)}.`));
    } else if (!code.archive() && (archive !== null || code.text() !== text)) {
      const host = element("div", { class: "editor difference" });
      box.append(element("h3", {}, `Code: ${code.file()}`), host);
      differenceIn(host, { before: archive ? "" : text, after: code.text(), file: code.file(), label: "Differences of the code" });
    }
  }

  $("[data-confirm]", review).addEventListener("click", async (event) => {
    const button = event.currentTarget;
    button.disabled = true;
    try {
      const now = settingsOf(form);
      const asked = Object.fromEntries(changes().map((name) => [name, now[name]]));
      if ("handler" in asked && !asked.handler) asked.handler = null;
      if (hasNewCode()) asked.code = await code.base64();
      const answer = await send(review, "PATCH", path, JSON.stringify(asked), { "If-Match": `"${revision}"` });
      if (answer.status === 200) {
        review.dataset.saved = "yes";
        sessionStorage.setItem(FLASH, `Revision ${answer.body.revision} is saved`);
        location.reload();
      } else if (answer.status === 412) await conflict();
      else {
        review.close();
        showRefusal(form, answer);
      }
    } catch (error) {
      const shown = $("[data-review-error]", review);
      shown.textContent = error.message;
      shown.hidden = false;
    } finally {
      button.disabled = false;
    }
  });

  // Somebody was faster: what they saved against what is here. Saving again says that it is theirs that is replaced.
  async function conflict() {
    const [current, source] = await Promise.all([
      api("GET", path).then((answer) => answer.json()),
      api("GET", `/lambda?hash=${page.dataset.hash}`).then((answer) => answer.json()),
    ]);
    // What I have not touched becomes theirs, so that nothing of it is undone.
    const mine = { settings: changes(), code: hasNewCode() };
    const theirs = Object.fromEntries(Object.keys(before.settings).map((name) => [name, current[name]]));
    for (const [name, value] of Object.entries(theirs)) if (!mine.settings.includes(name)) setSetting(form, name, value);
    before.settings = theirs;
    before.text = source.file ?? "";
    before.archive = source.file === null && box ? { name: "A zip", size: current.code_size } : null;
    if (!mine.code) {
      code.setArchive(before.archive);
      code.setText(before.text);
    }
    show(before.settings, before.text, before.archive);
    const notice = $("[data-conflict]", review);
    notice.textContent = `Somebody else saved meanwhile: you began with revision ${revision}, it is now at revision ${current.revision}. `
      + "Below is what yours would change in theirs.";
    notice.hidden = false;
    $("#review-title").textContent = "Save over somebody else’s changes?";
    $("[data-confirm]", review).textContent = "Save mine over theirs";
    $("[data-take]", review).hidden = false;
    revision = String(current.revision);
  }
}

const sorted = (value) => (value && typeof value === "object" ? Object.entries(value).sort() : value);

function cell(value, kind) {
  const text = value && typeof value === "object" ? Object.entries(value).map(([name, each]) => `${name}=${each}`).join("\n") : String(value ?? "");
  return element("td", { class: kind }, element("pre", {}, text || "–"));
}

const forms = [[$("#create"), create], [$("#edit"), edit]];
for (const [form, begin] of forms) if (form) begin(form);

// A file that misses its aim must not take the place of the page.
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
