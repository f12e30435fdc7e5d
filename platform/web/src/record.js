// What a call's record says of it, in the test panel and in the logs.
import { element, milliseconds } from "./dom.js";

const fact = (name, value) => [element("dt", {}, name), element("dd", {}, value)];

function start({ cold, init_duration_ms: init, cold_reason: reason }) {
  if (!cold) return "warm";
  return `cold${init == null ? "" : `, ${milliseconds(init)} to initialise`}${reason ? ` (${reason})` : ""}`;
}

export const factsOf = (record) => element("dl", { class: "facts-list" },
  ...fact("Duration", milliseconds(record.duration_ms)),
  ...fact("Start", start(record)),
  ...fact("Waited", milliseconds(record.queued_ms)),
  ...fact("Memory", `${record.memory_peak_mib} of ${record.memory_mib} MiB`),
  ...fact("Version", record.version),
  ...fact("Arrived", record.timestamp),
  ...fact("Request", element("code", {}, record.request_id)));

export const errorOf = ({ type, message, trace }) => [
  element("p", { class: "error" }, element("strong", {}, type), message ? `: ${message}` : ""),
  ...(trace?.length ? [element("pre", { class: "trace", tabindex: "0" }, trace.join("\n"))] : []),
];

// Runtimes hold the lines of one event of the log together by carriage returns, as on AWS.
export const linesOf = (text) => text.replace(/\r+\n?/g, "\n");

export const logOf = (record) =>
  element("pre", { class: "log", tabindex: "0", "aria-label": "Log" }, linesOf(record.log_tail) || "It printed nothing.");
