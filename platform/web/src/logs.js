// The logs of a function: the latest calls, and those that come, each opening to its whole record.
import { api, parsed, refusal } from "./api.js";
import { $, element, milliseconds } from "./dom.js";
import { events } from "./event_stream.js";
import { errorOf, factsOf, linesOf, logOf } from "./record.js";

const PAGE = 50;
// Pages asked for at a time, where a filter leaves little of each.
const PAGES = 5;
const MOST_SHOWN = 1000;
const AGAIN_MS = 2000;
const TYPING_MS = 300;
// What may have been recorded between the list and the stream.
const OVERLAP_MS = 60_000;

const path = `/api/functions/${$("#function").dataset.function}/logs`;
const list = $("#records");
const older = $("#logs [data-older]");
const live = $("#logs [data-live]");
const note = $("#logs [data-note]");
const status = $("#log-status");
const contains = $("#log-contains");
const shown = new Set();
let run = new AbortController();
let cursor = null;

const isLive = () => live.getAttribute("aria-pressed") === "true";

function query(extra) {
  const given = { status: status.value, contains: contains.value, ...extra };
  return new URLSearchParams(Object.entries(given).filter(([, value]) => value));
}

function say(text) {
  if (note.textContent !== text) note.textContent = text;
}

// From the beginning, with the filters as they are.
async function begin() {
  run.abort();
  run = new AbortController();
  const { signal } = run;
  list.setAttribute("aria-busy", "true");
  try {
    shown.clear();
    const found = await pages(null, signal);
    list.replaceChildren();
    found.items.forEach((record) => add(record, { isNew: false }));
    showEnd(found.cursor);
    list.removeAttribute("aria-busy");
    say(isLive() ? "Connecting …" : "");
    if (isLive()) await follow(found.items[0]?.timestamp ?? found.before, signal);
  } catch (error) {
    list.removeAttribute("aria-busy");
    if (!signal.aborted) say(error.message || "Lateen could not be reached.");
  }
}

async function pages(from, signal) {
  const found = { items: [], cursor: from, before: "" };
  for (let page = 0; page < PAGES && found.items.length < PAGE; page += 1) {
    const answer = await api("GET", `${path}?${query({ limit: PAGE, cursor: found.cursor })}`, { signal });
    if (!answer.ok) throw new Error(refusal(parsed(await answer.text()), answer.status).detail);
    const { items, next_cursor: next } = await answer.json();
    found.items.push(...items);
    found.cursor = next;
    found.before ||= new Date((Date.parse(answer.headers.get("date")) || Date.now()) - OVERLAP_MS).toISOString();
    if (!next) break;
  }
  return found;
}

function showEnd(next) {
  cursor = next;
  older.hidden = !cursor;
  const isFiltered = status.value || contains.value;
  $("#logs [data-empty]").hidden = shown.size > 0 || Boolean(isFiltered);
  $("#logs [data-no-match]").hidden = shown.size > 0 || !isFiltered;
}

async function follow(since, signal) {
  let lastId = null;
  while (!signal.aborted) {
    try {
      const headers = lastId ? { "Last-Event-ID": lastId } : {};
      const answer = await api("GET", `${path}/stream?${query({ since })}`, { headers, signal });
      if (!answer.ok) {
        const { detail, slug } = refusal(parsed(await answer.text()), answer.status);
        if (["too-many-streams", "not-found"].includes(slug)) return stop(detail);
        throw new Error(detail);
      }
      say("Live: calls appear as they end.");
      for await (const event of events(answer.body)) {
        if (signal.aborted) return;
        lastId = event.id ?? lastId;
        const data = parsed(event.data);
        if (event.event === "record") add(data, { isNew: true });
        if (event.event === "gap") list.prepend(element("li", { class: "log-gap" }, "More calls came than a live log carries: some are not shown."));
        if (event.event === "end" && data.reason === "deleted") return stop("The function was deleted.");
        if (event.event === "end" && data.reason === "too-many") return stop("Too many live logs are open with this key.");
      }
    } catch {
      if (signal.aborted) return;
    }
    say("The connection was lost. Connecting again …");
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

function stop(text) {
  live.setAttribute("aria-pressed", "false");
  say(text);
}

// In its place by time, the newest first.
function add(record, { isNew }) {
  // Attempts of one event share its id.
  const id = `${record.timestamp} ${record.request_id}`;
  if (shown.has(id)) return;
  shown.add(id);
  const made = row(record, isNew);
  if (isNew) {
    const next = [...list.children].find((each) => each.dataset.timestamp <= record.timestamp);
    list.insertBefore(made, next ?? null);
    while (list.children.length > MOST_SHOWN) {
      list.lastElementChild.remove();
      older.hidden = true;
    }
    $("#logs [data-empty]").hidden = $("#logs [data-no-match]").hidden = true;
  } else list.append(made);
}

function row(record, isNew) {
  const moment = new Date(record.timestamp);
  const details = element("details", {},
    element("summary", {},
      element("time", { datetime: record.timestamp, title: record.timestamp }, timeText(moment)),
      element("span", { class: `log-status log-${record.status}` }, record.status),
      element("span", { class: "number" }, milliseconds(record.duration_ms)),
      element("span", { class: "log-line" },
        record.cold ? element("span", { class: "tag" }, "cold") : null,
        element("span", {}, excerpt(record)))));
  details.addEventListener("toggle", () => details.open && details.children.length === 1 && details.append(whole(record)));
  return element("li", { "data-timestamp": record.timestamp, class: isNew ? "new" : null }, details);
}

function timeText(moment) {
  const time = moment.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
  return moment.toDateString() === new Date().toDateString() ? time : `${moment.toLocaleDateString()} ${time}`;
}

// The error, or the first thing that it printed.
function excerpt(record) {
  if (record.error) return `${record.error.type}: ${record.error.message}`.slice(0, 300);
  const printed = linesOf(record.log_tail).split("\n").find((line) => line.trim() && !/^(START|END|REPORT) RequestId: /.test(line));
  return (printed ?? "").slice(0, 300);
}

function whole(record) {
  return element("div", { class: "log-record" },
    factsOf(record),
    ...(record.error ? errorOf(record.error) : []),
    record.log_truncated ? element("p", { class: "muted" }, "What it printed is cut in the middle.") : null,
    logOf(record));
}

live.addEventListener("click", () => {
  live.setAttribute("aria-pressed", String(!isLive()));
  begin();
});
status.addEventListener("change", begin);
let typing = 0;
contains.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(begin, TYPING_MS);
});
$("#logs form").addEventListener("submit", (event) => event.preventDefault());
older.addEventListener("click", async () => {
  older.disabled = true;
  const { signal } = run;
  try {
    const found = await pages(cursor, signal);
    if (signal.aborted) return;
    found.items.forEach((record) => add(record, { isNew: false }));
    showEnd(found.cursor);
  } catch (error) {
    if (!signal.aborted) say(error.message || "Lateen could not be reached.");
  } finally {
    older.disabled = false;
  }
});
begin();
