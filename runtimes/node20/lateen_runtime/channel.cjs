// The channel: frames on a socket that the environment inherited. The invoker's `wire.py` says what each kind carries.
//
// A frame is a little-endian u32 length of what follows it, a u8 kind, a u16 length of the meta text, the meta text and
// the body. System calls are made at once and wait, which costs a fraction of what the event loop costs for the same.
"use strict";

const fs = require("node:fs");

const READY = 2;
const RESPONSE = 3;
const ERROR = 4;
const INIT_ERROR = 5;
const CHUNK = 6;
const FATAL = 7;
const EXTENDED = 8;
const HEADER = 7;
const PREFIX = 3;
const META_LIMIT = 60000;
// Bytes of the buffer for events, and of answers, at first; what is larger than KEPT is not kept for the next event.
const BUFFER = 64 * 1024;
const KEPT = 512 * 1024;
const PIECE = 256 * 1024;

const never = new Int32Array(new SharedArrayBuffer(4));

// Where the socket is the event loop's too, a system call does not wait by itself.
function isPassing({ code }) {
  if (code === "EAGAIN") Atomics.wait(never, 0, 0, 1);
  return code === "EAGAIN" || code === "EINTR";
}

class Channel {
  #fd;
  #in = Buffer.allocUnsafeSlow(BUFFER);
  #out = Buffer.allocUnsafeSlow(BUFFER);
  #have = 0;
  #socket;
  // There are extensions: this process may be one, and is told of its end.
  isExtended = false;

  constructor(fd) {
    this.#fd = fd;
  }

  ready() {
    this.#send(READY, "extended", "");
  }

  // Calls `take` when there is something for `next`. Meanwhile all else goes on.
  whenThereIsMore(take) {
    if (this.#have > 0) {
      take();
      return;
    }
    if (this.#socket !== undefined) {
      this.#socket.resume();
      return;
    }
    // One byte is enough to know, and the rest is left to `next`.
    const callback = (_, [byte]) => {
      this.#in[0] = byte;
      this.#have = 1;
      setImmediate(take);
      return false; // reads no more until `resume`
    };
    const { Socket } = require("node:net"); // most functions never need it
    this.#socket = new Socket({
      fd: this.#fd, readable: true, writable: false, onread: { buffer: Buffer.alloc(1), callback },
    });
    for (const end of ["end", "error", "close"]) this.#socket.on(end, () => process.exit(0));
    this.#socket.resume();
  }

  // The next event with what is known of it; null when nobody asks any more, undefined when there is something else to
  // know first. Waits, and so does all else in here.
  next() {
    let have = this.#have;
    this.#have = 0;
    while (have < HEADER) {
      const more = this.#read(this.#in, have);
      if (more === 0) return null;
      have += more;
    }
    const size = this.#in.readUInt32LE(0) + 4;
    const metaSize = this.#in.readUInt16LE(5);
    let frame = this.#in;
    if (size > frame.length) {
      frame = Buffer.allocUnsafeSlow(size);
      this.#in.copy(frame, 0, 0, have);
      if (size <= KEPT) this.#in = frame;
    }
    while (have < size) {
      const more = this.#read(frame, have, size - have);
      if (more === 0) return null;
      have += more;
    }
    if (frame.readUInt8(4) === EXTENDED) {
      this.isExtended = true;
      // The first event follows at once where somebody waits for it, and what there was of it has been read, too.
      frame.copyWithin(0, size, have);
      this.#have = have - size;
      return undefined;
    }
    const start = HEADER + metaSize;
    const [requestId, deadlineMs, arn, traceId, clientContext, identity, eventSize] = frame
      .utf8Slice(HEADER, start)
      .split("\n");
    const end = eventSize ? start + Number(eventSize) : size;
    return {
      requestId,
      deadlineMs: Number(deadlineMs),
      arn,
      traceId,
      clientContext,
      identity,
      event: frame.utf8Slice(start, end),
      body: end < size ? frame.utf8Slice(end, size) : undefined,
    };
  }

  // `text` is the answer's JSON.
  respond(requestId, text) {
    this.#send(RESPONSE, requestId, text);
  }

  // That there is a streamed answer, and its type.
  beginStream(requestId, contentType) {
    this.#send(CHUNK, `${requestId}\n${contentType}`, "");
  }

  // A piece of it: a Buffer.
  chunk(requestId, bytes) {
    for (let at = 0; at < bytes.length; at += PIECE) {
      this.#send(CHUNK, requestId, bytes.subarray(at, at + PIECE));
    }
  }

  endStream(requestId, contentType) {
    this.#send(RESPONSE, `${requestId}\n${contentType}`, "");
  }

  fail(requestId, document) {
    this.#send(ERROR, `${requestId}\n${document.errorType}`, JSON.stringify(document));
  }

  // The process ends after it.
  failForGood(requestId, document) {
    this.#send(FATAL, `${requestId}\n${document.errorType}`, JSON.stringify(document));
  }

  failInit(document) {
    this.#send(INIT_ERROR, String(document.errorType), JSON.stringify(document));
  }

  #read(buffer, at, most = buffer.length - at) {
    for (;;) {
      try {
        return fs.readSync(this.#fd, buffer, at, most, null);
      } catch (error) {
        if (!isPassing(error)) return 0;
      }
    }
  }

  #send(kind, meta, body) {
    const isText = typeof body === "string";
    // A character is three bytes of UTF-8 at most.
    const most = HEADER + meta.length * 3 + (isText ? body.length * 3 : body.length);
    let frame = this.#out;
    if (most > frame.length) {
      frame = Buffer.allocUnsafeSlow(most);
      if (most <= KEPT) this.#out = frame;
    }
    const metaSize = Math.min(frame.utf8Write(meta, HEADER), META_LIMIT);
    const start = HEADER + metaSize;
    const bodySize = isText ? frame.utf8Write(body, start) : body.copy(frame, start);
    frame.writeUInt32LE(PREFIX + metaSize + bodySize, 0);
    frame.writeUInt8(kind, 4);
    frame.writeUInt16LE(metaSize, 5);
    const end = start + bodySize;
    for (let sent = 0; sent < end; ) {
      try {
        sent += fs.writeSync(this.#fd, frame, sent, end - sent);
      } catch (error) {
        if (!isPassing(error)) process.exit(0); // nobody is there any more
      }
    }
  }
}

module.exports = { Channel };
