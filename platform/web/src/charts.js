// The charts of a function: calls, errors, durations and cold starts of an hour, a day or a week.
import { api, parsed, refusal } from "./api.js";
import { $, $$, element, milliseconds, svg } from "./dom.js";

const EVERY_MS = 30_000;
const HEIGHT = 180;
const EDGE = { top: 10, right: 6, bottom: 24, left: 50 };
const LABEL_WIDTH = 52;
const NAMES = { "1h": "the last hour", "24h": "the last 24 hours", "7d": "the last 7 days" };

const page = $("#charts");
const grid = $("#charts [data-grid]");
const note = $("#charts [data-note]");
let period = "1h";
let run = new AbortController();
let timer = 0;
let last = null;

const whole = (value) => value.toLocaleString();
// At an axis there is little room.
const short = (value) => value.toLocaleString(undefined, { notation: "compact" });
const shortDuration = (value) => (value >= 1000 ? `${+(value / 1000).toFixed(2)} s` : value ? `${+value.toFixed(2)} ms` : "0");
const CHARTS = [
  { id: "calls", title: "Calls", format: whole, series: [{ name: "calls", field: "calls", look: "accent" }] },
  { id: "errors", title: "Errors", format: whole, series: [{ name: "errors, timeouts included", field: "errors", look: "bad" }, { name: "refused: all environments were busy", field: "throttles", look: "wait" }] },
  { id: "durations", title: "Duration", format: milliseconds, isLine: true, series: [{ name: "p50", field: "p50_ms", look: "accent" }, { name: "p95", field: "p95_ms", look: "wait dashed" }, { name: "p99", field: "p99_ms", look: "bad dotted" }] },
  { id: "colds", title: "Cold starts", format: whole, series: [{ name: "cold starts", field: "cold_starts", look: "accent" }] },
];

async function load() {
  clearTimeout(timer);
  run.abort();
  run = new AbortController();
  const { signal } = run;
  try {
    const answer = await api("GET", `/api/functions/${$("#function").dataset.function}/statistics?period=${period}`, { signal });
    if (!answer.ok) throw new Error(refusal(parsed(await answer.text()), answer.status).detail);
    last = await answer.json();
    if (signal.aborted) return;
    draw();
    note.textContent = last.totals.calls || last.totals.throttles ? "" : `No calls in ${NAMES[period]}.`;
  } catch (error) {
    if (signal.aborted) return;
    note.textContent = error.message || "Lateen could not be reached.";
  }
  if (!document.hidden) timer = setTimeout(load, EVERY_MS);
}

function draw() {
  const { totals, buckets } = last;
  $("#charts [data-totals]").replaceChildren(
    total("Calls", whole(totals.calls)),
    total("Errors", `${whole(totals.errors)}${totals.calls ? ` (${((100 * totals.errors) / totals.calls).toFixed(1)} %)` : ""}`),
    total("Timeouts", whole(totals.timeouts)),
    total("Refused", whole(totals.throttles)),
    total("Cold starts", whole(totals.cold_starts)),
    total("p50", milliseconds(totals.p50_ms)),
    total("p95", milliseconds(totals.p95_ms)),
    total("p99", milliseconds(totals.p99_ms)));
  grid.replaceChildren(...CHARTS.map((chart) => figure(chart, buckets)));
  table(buckets);
}

const total = (name, value) => element("div", {}, element("dt", {}, name), element("dd", {}, value));

function figure(chart, buckets) {
  const legend = chart.series.length > 1 || chart.isLine ? element("ul", { class: "legend" }, ...chart.series.map(({ name, look }) => element("li", {}, svg("svg", { width: 16, height: 8, "aria-hidden": "true" }, svg("line", { x1: 0, x2: 16, y1: 4, y2: 4, class: `line ${look}` })), name))) : null;
  return element("figure", { class: "chart card" }, element("figcaption", {}, chart.title), plot(chart, buckets), legend);
}

function plot({ id, title, format, isLine, series }, buckets) {
  const width = Math.max(260, Math.floor((grid.clientWidth - 20 * (columns() - 1)) / columns()) - 34);
  const inner = width - EDGE.left - EDGE.right;
  const foot = HEIGHT - EDGE.bottom;
  const step = inner / buckets.length;
  const sum = (bucket) => series.reduce((all, { field }) => all + bucket[field], 0);
  const highest = Math.max(0, ...buckets.map((bucket) => (isLine ? Math.max(...series.map(({ field }) => bucket[field] ?? 0)) : sum(bucket))));
  const top = ceiling(highest, isLine);
  const x = (index) => EDGE.left + index * step;
  const y = (value) => foot - (value / top) * (foot - EDGE.top);
  const drawn = svg("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-labelledby": `${id}-title`, "aria-describedby": `${id}-text` },
    svg("title", { id: `${id}-title` }, title),
    svg("desc", { id: `${id}-text` }, described(isLine, series, buckets, format, sum)));
  for (const part of [0, 0.5, 1]) {
    const value = top * part;
    drawn.append(svg("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value) }),
      svg("text", { class: "axis", x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, isLine ? shortDuration(value) : short(value)));
  }
  let free = EDGE.left - LABEL_WIDTH;
  buckets.forEach((bucket, index) => {
    const label = tick(new Date(bucket.start));
    const at = x(index);
    if (!label || at - free < LABEL_WIDTH || at > width - LABEL_WIDTH / 2) return;
    free = at;
    drawn.append(svg("text", { class: "axis", x: at, y: HEIGHT - 6, "text-anchor": "middle" }, label));
  });
  if (isLine) for (const each of series) drawn.append(...lines(each, buckets, (index) => x(index) + step / 2, y));
  else drawn.append(...buckets.flatMap((bucket, index) => bars(series, bucket, x(index), Math.max(1, step * 0.8), y, foot)));
  // What the pointer is on, said by the browser.
  buckets.forEach((bucket, index) => {
    const text = series.map(({ name, field }) => `${format(bucket[field])} ${name}`).join(", ");
    drawn.append(svg("rect", { class: "hover", x: x(index), y: EDGE.top, width: step, height: foot - EDGE.top }, svg("title", {}, `${when(bucket)}: ${text}`)));
  });
  return drawn;
}

function bars(series, bucket, x, width, y, foot) {
  const found = [];
  let low = 0;
  for (const { field, look } of series) {
    if (!bucket[field]) continue;
    // What is little beside the rest can still be seen.
    const height = Math.max(1.5, y(low) - y(low + bucket[field]));
    found.push(svg("rect", { class: `bar-of ${look}`, x, y: Math.min(y(low), foot) - height, width, height }));
    low += bucket[field];
  }
  return found;
}

function lines({ field, look }, buckets, x, y) {
  const runs = [];
  let open = null;
  buckets.forEach((bucket, index) => {
    if (bucket[field] === null) open = null;
    else {
      if (!open) runs.push((open = []));
      open.push([x(index), y(bucket[field])]);
    }
  });
  return runs.map((points) => points.length === 1
    ? svg("circle", { class: `dot ${look}`, cx: points[0][0], cy: points[0][1], r: 2.5 })
    : svg("polyline", { class: `line ${look}`, points: points.map((point) => point.map((each) => each.toFixed(1)).join(",")).join(" ") }));
}

// A round number, not below.
function ceiling(value, isLine) {
  if (value <= 0) return isLine ? 10 : 2;
  const unit = 10 ** Math.floor(Math.log10(value));
  const found = [1, 2, 4, 5, 6, 8, 10].find((each) => each * unit >= value) * unit;
  return isLine ? found : Math.max(2, found + (found % 2));
}

function described(isLine, series, buckets, format, sum) {
  const some = buckets.filter((bucket) => (isLine ? bucket.calls : sum(bucket)));
  if (!some.length) return `None in ${NAMES[period]}.`;
  if (isLine) return `In ${NAMES[period]}, over all calls: ${series.map(({ name, field }) => `${name} ${format(last.totals[field])}`).join(", ")}.`;
  const most = some.reduce((one, other) => (sum(other) > sum(one) ? other : one));
  return `${series.map(({ name, field }) => `${format(last.totals[field])} ${name}`).join(", ")} in ${NAMES[period]}; the most, ${format(sum(most))}, at ${when(most)}.`;
}

function tick(moment) {
  const time = () => moment.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
  if (period === "1h") return moment.getMinutes() % 10 === 0 ? time() : "";
  if (period === "24h") return moment.getMinutes() === 0 && moment.getHours() % 4 === 0 ? time() : "";
  return moment.getHours() === 0 ? moment.toLocaleDateString(undefined, { weekday: "short", day: "numeric" }) : "";
}

function when(bucket) {
  const options = { hour: "2-digit", minute: "2-digit", ...(period === "1h" ? {} : { weekday: "short", day: "numeric", month: "short" }) };
  return new Date(bucket.start).toLocaleString(undefined, options);
}

// The same for who can't see it, or wants the numbers.
function table(buckets) {
  const some = buckets.filter((bucket) => bucket.calls || bucket.throttles).reverse();
  const cell = (text) => element("td", { class: "number" }, text);
  $("#charts tbody").replaceChildren(...some.map((bucket) => element("tr", {},
    element("th", { scope: "row" }, element("time", { datetime: bucket.start }, when(bucket))),
    cell(whole(bucket.calls)), cell(whole(bucket.errors)), cell(whole(bucket.timeouts)), cell(whole(bucket.throttles)), cell(whole(bucket.cold_starts)),
    cell(milliseconds(bucket.p50_ms)), cell(milliseconds(bucket.p95_ms)), cell(milliseconds(bucket.p99_ms)))));
}

const columns = () => (grid.clientWidth >= 760 ? 2 : 1);

$$("#charts [data-period]").forEach((button) => button.addEventListener("click", () => {
  period = button.dataset.period;
  $$("#charts [data-period]").forEach((each) => each.setAttribute("aria-pressed", String(each === button)));
  load();
}));
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : load()));
let drawnFor = 0;
new ResizeObserver(() => {
  if (last && grid.clientWidth !== drawnFor) draw();
  drawnFor = grid.clientWidth;
}).observe(grid);
load();
