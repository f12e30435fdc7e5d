// The test panel: a request as the function's URL would bring it, by the API's invocations, so that it works wherever
// the API does; and what came back, with that call's record.
import { api, parsed } from "./api.js";
import { $, $$, element, milliseconds, say, size, toast } from "./dom.js";
import { pairsOf, setPairs, watchPairs } from "./pairs.js";
import { errorOf, factsOf, logOf } from "./record.js";

const LOG_WAIT_S = 10;
const FOLD_FROM = 40;
const MOST_SHOWN = 300_000;
const BODILESS = ["GET", "HEAD"];

const form = $("#try");
const panel = $("#answer");
const page = $("#function");
const path = `/api/functions/${page.dataset.function}`;
const store = `lateen-tests-${page.dataset.function}`;
const host = new URL(page.dataset.url).host;

watchPairs(form);

// Of payload format 2.0, as the function's URL makes it of the same request.
function eventOf({ method, path: given, query, headers: named, body: written }) {
  const body = BODILESS.includes(method) ? "" : written;
  const url = new URL(`http://${host}${given.startsWith("/") ? given : `/${given}`}`);
  for (const [name, value] of query) url.searchParams.append(name, value);
  const parameters = [...url.searchParams];
  const type = body ? { "content-type": parsed(body) === null ? "text/plain;charset=UTF-8" : "application/json" } : {};
  const others = joined(named.map(([name, value]) => [name.toLowerCase(), value]));
  const { cookie, ...headers } = { host, "user-agent": "lateen-test", ...type, ...others };
  const isText = /^(text\/|application\/(json|xml))/i.test(headers["content-type"]);
  const now = new Date();
  return {
    version: "2.0",
    routeKey: "$default",
    rawPath: url.pathname,
    rawQueryString: url.search.slice(1),
    ...(cookie ? { cookies: cookie.split(/;\s*/) } : {}),
    headers,
    ...(parameters.length ? { queryStringParameters: joined(parameters) } : {}),
    requestContext: {
      accountId: "anonymous",
      apiId: page.dataset.hash,
      domainName: host,
      domainPrefix: host.split(".")[0],
      http: { method, path: url.pathname, protocol: "HTTP/1.1", sourceIp: "127.0.0.1", userAgent: headers["user-agent"] },
      requestId: crypto.randomUUID?.() ?? `${now.getTime()}`,
      routeKey: "$default",
      stage: "$default",
      time: clockText(now),
      timeEpoch: now.getTime(),
    },
    ...(body ? { body: isText ? body : base64Of(new TextEncoder().encode(body)) } : {}),
    isBase64Encoded: Boolean(body) && !isText,
  };
}

// 31/Jan/2026:23:59:59 +0000
function clockText(moment) {
  const [, day, month, year, time] = moment.toUTCString().split(" ");
  return `${day}/${month}/${year}:${time} +0000`;
}

const base64Of = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));

// With commas where a name is there several times.
function joined(pairs) {
  const found = new Map();
  for (const [name, value] of pairs) found.set(name, found.has(name) ? `${found.get(name)},${value}` : value);
  return Object.fromEntries(found);
}

// What a caller of the URL would get of what the handler returned: {status, headers, cookies, body (bytes)}.
function responseOf(text) {
  const value = parsed(text);
  if (value && typeof value === "object" && !Array.isArray(value) && "statusCode" in value) {
    const headers = Object.fromEntries(Object.entries(value.headers ?? {}).map(([name, each]) => [name.toLowerCase(), String(each)]));
    headers["content-type"] ??= "application/json";
    const body = typeof value.body === "string" ? value.body : value.body == null ? "" : JSON.stringify(value.body);
    return { status: Number(value.statusCode), headers, cookies: value.cookies ?? [], body: value.isBase64Encoded ? bytesOf(body) : new TextEncoder().encode(body) };
  }
  return { status: 200, headers: { "content-type": "application/json" }, cookies: [], body: new TextEncoder().encode(typeof value === "string" ? value : text) };
}

function bytesOf(base64) {
  try {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  } catch {
    return new TextEncoder().encode(base64);
  }
}

const requestOf = () => ({
  method: form.elements.method.value,
  path: form.elements.path.value,
  query: pairsOf("query"),
  headers: pairsOf("headers"),
  body: form.elements.body.value,
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const request = requestOf();
  const isEvent = request.method === "EVENT";
  const wrong = isEvent && request.body.trim() && parsed(request.body) === null && request.body.trim() !== "null";
  $("#body-error").hidden = !wrong;
  $("#body-error").textContent = "An event is JSON.";
  if (wrong) return void form.elements.body.focus();
  remember("", request);
  const button = $("button[type=submit]", form);
  button.disabled = true;
  panel.setAttribute("aria-busy", "true");
  panel.replaceChildren(element("p", { class: "empty-note" }, "Waiting for the answer …"));
  try {
    const began = performance.now();
    const answer = await api("POST", `${path}/invocations`, { body: isEvent ? request.body : JSON.stringify(eventOf(request)) });
    const text = await answer.text();
    show(answer, text, { isEvent, took: performance.now() - began });
  } catch {
    panel.replaceChildren(element("p", { class: "error" }, "Lateen could not be reached. Try again."));
  } finally {
    button.disabled = false;
    panel.removeAttribute("aria-busy");
  }
});

function show(answer, text, { isEvent, took }) {
  const requestId = answer.headers.get("x-amzn-requestid");
  const record = element("div", { class: "record" });
  if (answer.status === 200) panel.replaceChildren(...(isEvent ? eventAnswer(text) : httpAnswer(responseOf(text))), record);
  else panel.replaceChildren(...failure(answer, parsed(text)), record);
  say($(".status-line", panel)?.textContent ?? "");
  if (requestId) showRecord(record, requestId, took);
}

function statusLine(status, text) {
  const kind = status < 300 ? "good" : status < 400 ? "neutral" : "bad";
  return element("p", { class: `status-line ${kind}` }, element("strong", {}, String(status)), ` ${text}`);
}

function httpAnswer({ status, headers, cookies, body }) {
  if (!(status >= 200 && status <= 599)) return [statusLine(502, "statusCode is not a number between 200 and 599, so callers of its URL get 502.")];
  const type = headers["content-type"] ?? "";
  const pairs = [...Object.entries(headers), ...cookies.map((each) => ["set-cookie", String(each)])];
  return [
    statusLine(status, `${type.split(";")[0]} · ${size(body.length)}`),
    element("details", {}, element("summary", {}, `Headers (${pairs.length})`), element("dl", { class: "headers" }, ...pairs.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]))),
    bodyOf(body, type),
  ];
}

const eventAnswer = (text) => [statusLine(200, `JSON · ${size(new Blob([text]).size)}`), bodyOf(new TextEncoder().encode(text), "application/json")];

function failure(answer, problem) {
  const { error } = problem ?? {};
  if (!error) return [statusLine(answer.status, problem?.title ?? ""), element("p", { class: "error" }, problem?.detail ?? "The function gave no answer.")];
  return [
    element("p", { class: "status-line bad" }, element("strong", {}, "Failed"), " The function raised an error. Callers of its URL get 502."),
    ...errorOf(error),
  ];
}

function bodyOf(bytes, type) {
  if (!bytes.length) return element("p", { class: "empty-note" }, "The body is empty.");
  if (/^image\//.test(type)) {
    const image = element("img", { alt: "The answer, an image" });
    image.src = `data:${type.split(";")[0]};base64,${base64Of(bytes)}`;
    return element("p", { class: "image" }, image);
  }
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return element("p", { class: "empty-note" }, `${size(bytes.length)} that are no text.`);
  }
  const value = /json/.test(type) && text.length <= MOST_SHOWN ? parsed(text) : null;
  if (value && typeof value === "object") return element("div", { class: "json", tabindex: "0", role: "group", "aria-label": "Body" }, tree(value));
  const cut = text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}\n… ${text.length - MOST_SHOWN} more characters` : text;
  return element("pre", { class: "body", tabindex: "0", "aria-label": "Body" }, cut);
}

// JSON that folds. What is long is folded at first.
function tree(value, name = null, depth = 0) {
  const label = name === null ? null : element("span", { class: "json-name" }, `${name}: `);
  if (value === null || typeof value !== "object") return element("div", { class: "json-leaf" }, label, element("span", { class: `json-${value === null ? "null" : typeof value}` }, JSON.stringify(value)));
  const isList = Array.isArray(value);
  const entries = Object.entries(value);
  const count = `${isList ? "[" : "{"} ${entries.length} ${isList ? "]" : "}"}`;
  if (!entries.length) return element("div", { class: "json-leaf" }, label, isList ? "[]" : "{}");
  const fold = element("details", { open: depth < 2 && entries.length <= FOLD_FROM }, element("summary", {}, label, element("span", { class: "json-count" }, count)));
  const fill = () => {
    if (fold.open && fold.children.length === 1) fold.append(...entries.map(([key, each]) => tree(each, key, depth + 1)));
  };
  fold.addEventListener("toggle", fill);
  fill();
  return fold;
}

async function showRecord(box, requestId, took) {
  box.replaceChildren(element("p", { class: "empty-note" }, "Its record is on the way …"));
  const record = await findRecord(requestId);
  if (!record) {
    box.replaceChildren(element("p", { class: "empty-note" }, `Answered in ${milliseconds(took)}. Its record isn’t there yet: the logs will have it.`));
    return;
  }
  box.replaceChildren(
    factsOf(record),
    element("h3", {}, "Log of this call"),
    logOf(record),
  );
}

// The invoker writes records in batches, so it may take a moment.
async function findRecord(requestId) {
  const answer = await api("GET", `${path}/logs/${encodeURIComponent(requestId)}?wait=${LOG_WAIT_S}`);
  if (answer.ok) return answer.json();
  for (let attempt = 0; attempt < 20; attempt += 1) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    const page = await api("GET", `${path}/logs?limit=20`);
    const found = page.ok && (await page.json()).items.find((each) => each.request_id === requestId);
    if (found) return found;
  }
  return null;
}

// Saved tests; the nameless one is what was sent last. Functions' pages may be of the same origin and read them, so what
// a header proves who somebody is by is not saved.
const SECRET = /^(authorization|proxy-authorization|cookie)$|key|token|secret|signature/i;
const tests = () => parsed(localStorage.getItem(store) ?? "{}") ?? {};

function remember(name, request) {
  const headers = request.headers.filter(([each]) => !SECRET.test(each));
  try {
    localStorage.setItem(store, JSON.stringify({ ...tests(), [name]: { ...request, headers } }));
    return true;
  } catch {
    return false;
  }
}

function fillSaved(chosen) {
  const names = Object.keys(tests()).filter(Boolean).sort();
  $("#saved").replaceChildren(element("option", { value: "" }, names.length ? "Choose one" : "None yet"), ...names.map((name) => element("option", { value: name, selected: name === chosen }, name)));
  $("[data-forget]").disabled = !chosen;
}

function load(request) {
  form.elements.method.value = request.method;
  form.elements.path.value = request.path;
  form.elements.body.value = request.body;
  setPairs("query", request.query);
  setPairs("headers", request.headers);
  showKind();
}

function showKind() {
  const { value } = form.elements.method;
  for (const each of $$("[data-http]", form)) each.hidden = value === "EVENT";
  $("[data-body-label]").textContent = value === "EVENT" ? "Event, JSON" : "Body";
  $("[data-body]").hidden = BODILESS.includes(value);
}

form.elements.method.addEventListener("change", showKind);
$("#saved").addEventListener("change", (event) => {
  const chosen = tests()[event.target.value];
  if (event.target.value && chosen) load(chosen);
  $("[data-forget]").disabled = !event.target.value;
});
$("[data-save]").addEventListener("click", () => {
  const name = $("#save-name").value.trim();
  if (!name) return void $("#save-name").focus();
  toast(remember(name, requestOf()) ? `Test ${name} is saved` : "The browser does not let this page save");
  fillSaved(name);
});
$("[data-forget]").addEventListener("click", () => {
  const { [$("#saved").value]: _, ...others } = tests();
  localStorage.setItem(store, JSON.stringify(others));
  fillSaved("");
});
fillSaved("");
const last = tests()[""];
if (last) load(last);
showKind();
