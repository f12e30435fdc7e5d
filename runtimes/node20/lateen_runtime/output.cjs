// What handlers print: the lines of AWS's client, as text or as JSON.
"use strict";

const { format } = require("node:util");

const { loggedForm } = require("./faults.cjs");

// Where libraries look for them too.
const REQUEST_ID = Symbol.for("aws.lambda.runtime.requestId");
const LEVELS = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
const asError = (thrown) => (thrown instanceof Error ? thrown : new Error(thrown));

function write(line) {
  // One line of the log is one event; AWS's client keeps an event's lines together by carriage returns.
  process.stdout.write(`${line.replaceAll("\n", "\r")}\n`);
}

function text(level, first, ...more) {
  write(`${new Date().toISOString()}\t${globalThis[REQUEST_ID]}\t${level}\t${format(first, ...more)}`);
}

function json(level, first, ...more) {
  const line = { timestamp: new Date().toISOString(), level, requestId: globalThis[REQUEST_ID] };
  write(more.length === 0 ? jsonOfOne(line, first) : jsonOfMany(line, [first, ...more]));
}

function jsonOfOne(line, message) {
  try {
    return JSON.stringify({ ...line, message }, (_, value) => (value instanceof Error ? errorFields(value) : value));
  } catch {
    return JSON.stringify({ ...line, message: format(message) });
  }
}

function jsonOfMany(line, given) {
  const error = given.find((each) => each instanceof Error);
  const fields = { ...line, message: format(...given) };
  if (error !== undefined) {
    const { errorType, errorMessage, stackTrace = [] } = errorFields(error);
    Object.assign(fields, { errorType, errorMessage, stackTrace });
  }
  return JSON.stringify(fields);
}

function errorFields(error) {
  const { stack } = error;
  return {
    errorType: error.constructor?.name ?? "UnknownError",
    errorMessage: error.message,
    stackTrace: typeof stack === "string" ? stack.split("\n") : stack,
    ...error,
  };
}

const isJson = () => process.env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === "JSON";

const log = {
  // Call it once. `AWS_LAMBDA_LOG_LEVEL` is the least that is shown; what is fatal always is.
  patchConsole() {
    const line = isJson() ? json : text;
    const least = Math.max(0, LEVELS.indexOf(process.env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase()));
    for (const [number, level] of LEVELS.entries()) {
      const isShown = number >= least || level === "FATAL";
      console[level.toLowerCase()] = isShown ? (...given) => line(level, ...given) : () => {};
    }
    console.log = console.info;
  },

  // What user code threw, and where.
  thrown(where, what) {
    if (isJson()) console.error(asError(what));
    else console.error(where, loggedForm(asError(what)));
  },

  runs(requestId) {
    globalThis[REQUEST_ID] = requestId;
  },
};

module.exports = { log };
