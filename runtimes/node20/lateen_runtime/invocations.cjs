// The life of an environment: find the handler, then one event after the other.
"use strict";

const { contextOf } = require("./context.cjs");
const { UnhandledPromiseRejection, documentOf } = require("./faults.cjs");
const { findHandler } = require("./handlers.cjs");
const { log } = require("./output.cjs");
const { ResponseStream } = require("./streams.cjs");

// Exit codes of AWS's client.
const UNCAUGHT = 129;
const UNHANDLED = 128;

let channel;
let found;
// The one that runs and is not answered; before the first, and between two, there is none.
let current = null;
// Sends its answer, once there is one. That also asks for the next event, so it is done right before that is awaited: what
// ends the process in the turn of the event loop between, a rejection that nobody handles for example, is still an error
// of the call that did it, and no other call's event is lost with it.
let sendAnswer = null;
let isInitialised = false;
let whenNothingIsLeft = null;

async function run(given, taskRoot, name) {
  channel = given;
  process.on("uncaughtException", (error) => endWith(UNCAUGHT, "Uncaught Exception", error));
  process.on("unhandledRejection", (reason, promise) =>
    endWith(UNHANDLED, "Unhandled Promise Rejection", new UnhandledPromiseRejection(reason, promise)),
  );
  process.on("beforeExit", () => {
    const what = whenNothingIsLeft;
    whenNothingIsLeft = null;
    what?.();
  });
  try {
    found = await findHandler(taskRoot, name);
  } catch (error) {
    endWith(UNCAUGHT, "Uncaught Exception", error);
    return;
  }
  // What was rejected while it was loaded is known after a turn of the event loop.
  setImmediate(() => {
    isInitialised = true;
    channel.ready();
    step();
  });
}

function endWith(code, where, error) {
  log.thrown(where, error);
  if (!isInitialised) channel.failInit(documentOf(error));
  else if (current !== null) channel.failForGood(current, documentOf(error));
  process.exit(code);
}

// One event. What is left over of the one before has had a turn of the event loop by now.
function step() {
  if (sendAnswer !== null) {
    const send = sendAnswer;
    current = sendAnswer = null;
    send();
  }
  if (channel.isExtended) channel.whenThereIsMore(take);
  else take();
}

function take() {
  const invocation = channel.next();
  if (invocation === null) process.exit(0);
  if (invocation === undefined) {
    step();
    return;
  }
  current = invocation.requestId;
  log.runs(current);
  if (found.isStreaming) stream(invocation);
  else call(invocation);
}

function eventOf({ event, body }) {
  const value = JSON.parse(event);
  if (body !== undefined) value.body = body;
  return value;
}

function call(invocation) {
  const requestId = invocation.requestId;
  const [callback, given] = waysToAnswer(requestId);
  // Neither called back nor promised anything, and nothing is left that could.
  whenNothingIsLeft = () => respond(requestId, null);
  try {
    const result = found.handler(eventOf(invocation), contextOf(given, invocation), callback);
    if (typeof result?.then === "function") result.then(given.succeed, given.fail).catch(given.fail);
  } catch (error) {
    callback(error);
  }
}

// The callback, and the members of the context that answer or say how to. Only the first answer counts.
function waysToAnswer(requestId) {
  let isAnswered = false;
  let waits = true;
  const once = (answer) => (error, result) => {
    if (isAnswered) return;
    answer(error, result);
    isAnswered = true;
  };
  const done = (error, result) => {
    whenNothingIsLeft = null;
    if (error !== undefined && error !== null) fail(requestId, error);
    else respond(requestId, result);
  };
  const callback = (error, result) => {
    if (!waits || (error !== undefined && error !== null)) done(error, result);
    else whenNothingIsLeft = () => respond(requestId, result);
  };
  const given = {
    get callbackWaitsForEmptyEventLoop() {
      return waits;
    },
    set callbackWaitsForEmptyEventLoop(value) {
      waits = value;
    },
    succeed: once((result) => done(null, result)),
    fail: once((error) => done(error ?? "handled")),
    done: once(done),
  };
  return [once(callback), given];
}

function isOpen(requestId) {
  return current === requestId && sendAnswer === null;
}

function answerWith(send) {
  sendAnswer = send;
  setImmediate(step);
}

function respond(requestId, result) {
  if (!isOpen(requestId)) return;
  let text;
  try {
    text = JSON.stringify(result === undefined ? null : result) ?? "null";
  } catch {
    throw new Error("Unable to stringify response body");
  }
  answerWith(() => channel.respond(requestId, text));
}

function fail(requestId, error) {
  if (!isOpen(requestId)) return;
  log.thrown("Invoke Error", error);
  const document = documentOf(error);
  answerWith(() => channel.fail(requestId, document));
}

async function stream(invocation) {
  const { requestId } = invocation;
  const answer = new ResponseStream(channel, requestId, found.highWaterMark);
  const finished = new Promise((resolve, reject) => {
    answer.on("finish", resolve);
    answer.on("error", reject);
  });
  finished.catch(() => {});
  whenNothingIsLeft = () => fail(requestId, "Response stream is not finished.");
  try {
    const result = found.handler(eventOf(invocation), answer, contextOf({ callbackWaitsForEmptyEventLoop: true }, invocation));
    if (typeof result?.then !== "function") throw "Streaming does not support non-async handlers.";
    if ((await result) !== undefined) console.warn("Streaming handlers ignore return values.");
    await finished;
    endStream(requestId, answer);
  } catch (error) {
    if (answer.writableEnded && !answer.errored) {
      log.thrown("Invoke Error", error);
      await finished;
      endStream(requestId, answer);
    } else {
      whenNothingIsLeft = null;
      fail(requestId, error);
    }
  }
}

function endStream(requestId, { contentType }) {
  if (!isOpen(requestId)) return;
  whenNothingIsLeft = null;
  answerWith(() => channel.endStream(requestId, contentType));
}

module.exports = { run };
