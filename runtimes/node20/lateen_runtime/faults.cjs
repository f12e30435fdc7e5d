// Errors: those of the runtime itself, and the documents that callers and logs get of any.
"use strict";

const { isNativeError } = require("node:util/types");

function fault(name) {
  const made = { [name]: class extends Error {} }[name];
  made.prototype.name = `Runtime.${name}`;
  return made;
}

const ImportModuleError = fault("ImportModuleError");
const HandlerNotFound = fault("HandlerNotFound");
const MalformedHandlerName = fault("MalformedHandlerName");
const MalformedStreamingHandler = fault("MalformedStreamingHandler");
const UserCodeSyntaxError = fault("UserCodeSyntaxError");
const InvalidStreamingOperation = fault("InvalidStreamingOperation");

class UnhandledPromiseRejection extends Error {
  constructor(reason, promise) {
    super(reason);
    this.reason = reason;
    this.promise = promise;
  }
}
UnhandledPromiseRejection.prototype.name = "Runtime.UnhandledPromiseRejection";

const escaped = (text) => text?.replaceAll("\x7F", "%7F");

function looksLikeError(value) {
  return ["name", "message", "stack"].every((member) => typeof value?.[member] === "string" && value[member] !== "");
}

// What the caller gets: `errorType`, `errorMessage`, `trace`. User code may have thrown anything.
function documentOf(thrown) {
  try {
    if (isNativeError(thrown) || looksLikeError(thrown)) {
      return {
        errorType: escaped(thrown.name),
        errorMessage: escaped(thrown.message),
        trace: escaped(thrown.stack).split("\n"),
      };
    }
    return { errorType: typeof thrown, errorMessage: thrown.toString(), trace: [] };
  } catch {
    return {
      errorType: "handled",
      errorMessage:
        "callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack",
    };
  }
}

// What the log shows behind the words that say where it was thrown.
function loggedForm(error) {
  try {
    return `\t${JSON.stringify(error, (_, value) => (value instanceof Error ? withAllMembers(value) : value))}`;
  } catch {
    return `\t${JSON.stringify(documentOf(error))}`;
  }
}

function withAllMembers(error) {
  const shown = { errorType: error.name, errorMessage: error.message, code: error.code, ...error };
  if (typeof error.stack === "string") shown.stack = error.stack.split("\n");
  return shown;
}

module.exports = {
  HandlerNotFound,
  ImportModuleError,
  InvalidStreamingOperation,
  MalformedHandlerName,
  MalformedStreamingHandler,
  UnhandledPromiseRejection,
  UserCodeSyntaxError,
  documentOf,
  loggedForm,
};
