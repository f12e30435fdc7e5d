// Streamed answers: what a handler writes goes out as it comes.
"use strict";

const { Writable } = require("node:stream");

const { InvalidStreamingOperation } = require("./faults.cjs");

const PRELUDE_TYPE = "application/vnd.awslambda.http-integration-response";
const DELIMITER = new Uint8Array(8);

class ResponseStream extends Writable {
  #channel;
  #requestId;
  #isBegun = false;
  contentType = "application/octet-stream";
  // Set by what puts something in front of the first write; called with a function that writes.
  _onBeforeFirstWrite;

  constructor(channel, requestId, highWaterMark) {
    super(highWaterMark === undefined ? {} : { highWaterMark });
    this.#channel = channel;
    this.#requestId = requestId;
  }

  setContentType(type) {
    if (this.#isBegun) throw new InvalidStreamingOperation("Cannot set content-type, too late.");
    this.contentType = type;
  }

  // Also takes what is neither text nor bytes: as JSON.
  write(piece, encoding, done) {
    this.#begin();
    const isPlain = typeof piece === "string" || piece instanceof Uint8Array;
    return super.write(isPlain ? piece : JSON.stringify(piece), encoding, done);
  }

  _write(piece, _encoding, done) {
    this.#begin(); // `end` with a piece does not go through `write`
    this.#channel.chunk(this.#requestId, piece);
    done();
  }

  _final(done) {
    this.#begin();
    done();
  }

  #begin() {
    if (this.#isBegun) return;
    this.#isBegun = true;
    this.#channel.beginStream(this.#requestId, this.contentType);
    this._onBeforeFirstWrite?.((piece) => this.#channel.chunk(this.#requestId, Buffer.from(piece)));
  }
}

const HttpResponseStream = {
  // Status, headers and cookies for what is written to `stream` from now on.
  from(stream, prelude) {
    stream.setContentType(PRELUDE_TYPE);
    stream._onBeforeFirstWrite = (write) => {
      write(JSON.stringify(prelude));
      write(DELIMITER);
    };
    return stream;
  },
};

module.exports = { HttpResponseStream, ResponseStream };
