"use strict";

const native = require("./native");
const { normalize, sizeLimit, writeCommand } = require("./encode");
const { abortError, closed, errorFromMessage, makeError } = require("./errors");
const { append, toObject } = require("./replies");

// Commands of one iteration of the event loop are encoded into an outbox of this size. The addon takes it when it is
// full, and before the loop waits; they leave together in either case.
const OUTBOX_BYTES = 64 * 1024;
const OUTBOX_COMMANDS = 1024;
// The lowest bits of a tag, as in src/addon.h.
const AS_BUFFER = 1;
const NUMBERS_AS_TEXT = 2;
const FLAG_BITS = 2;

// The addon writes here whose replies it passes to deliver(): for each the entry's number, and whether it is an error.
const inbox = new Uint32Array(native.deliveredAtOnce);

/** Completes the promises of some replies. The addon calls it, within one callback scope for all complete replies. */
function deliver(core, ...values) {
  for (let i = 0; i < values.length; i++) {
    const code = inbox[i];
    const entry = core.remove(code >>> 1);
    if (entry.signal !== null) core.unwatch(entry);
    if ((code & 1) === 1) entry.fail(values[i]);
    else entry.complete(values[i]);
  }
}

native.setUp(deliver, makeError, append, toObject, BigInt, inbox);

/** A command in flight. */
class Entry {
  constructor(resolve, reject, convert) {
    this.resolve = resolve;
    this.reject = reject;
    this.convert = convert;
    this.tag = 0;
    this.signal = null;
  }

  complete(value) {
    if (this.convert !== null) {
      try {
        value = this.convert(value);
      } catch (error) {
        return this.reject(error);
      }
    }
    this.resolve(value);
  }

  fail(error) {
    const { signal } = this;
    this.reject(signal?.aborted && error?.code === "INTERRUPTED" ? abortError(signal, error) : error);
  }
}

// One function for all promises, instead of a new one for each.
let resolveLast, rejectLast;
const capture = (resolve, reject) => {
  resolveLast = resolve;
  rejectLast = reject;
};

/** Names and values of options as C strings. */
const asTexts = (options) => options.map((text) => Buffer.from(`${text}\0`));

/** A handle of the library with its queue, and the commands that are in flight. */
class Core {
  constructor(numbersAsText) {
    this.flags = numbersAsText ? NUMBERS_AS_TEXT : 0;
    this.outbox = Buffer.allocUnsafeSlow(OUTBOX_BYTES);
    // The number of commands in the outbox; then for each its tag, and where it ends.
    this.ends = new Uint32Array(1 + 2 * OUTBOX_COMMANDS);
    this.end = 0;
    this.entries = [];
    this.unused = [];
    this.signals = new Map();
    this.inFlight = 0;
    this.isPinned = false;
    this.closed = false;
    this.onIdle = null;
  }

  /** A core with a client of its own. */
  static open(options, numbersAsText) {
    const core = new Core(numbersAsText);
    return core.opened(native.open(core, core.outbox, core.ends, asTexts(options)));
  }

  /** A core with a handle derived from the client of this one. */
  derive(options) {
    const core = new Core(this.flags === NUMBERS_AS_TEXT);
    return core.opened(native.derive(core, core.outbox, core.ends, asTexts(options), this));
  }

  /** A core with a connection of its own, to the primary of this key. */
  pin(key) {
    const core = new Core(this.flags === NUMBERS_AS_TEXT);
    core.isPinned = true;
    return core.opened(native.pin(core, core.outbox, core.ends, Buffer.from(key), this));
  }

  opened(failure) {
    if (failure !== null) throw errorFromMessage(failure);
    return this;
  }

  submit(command, args, signal) {
    if (this.closed) return Promise.reject(closed());
    if (signal !== null && signal.aborted) return Promise.reject(abortError(signal));
    let head, size, bytes;
    try {
      args = normalize(command.argumentsOf === null ? args : command.argumentsOf(args), command.name);
      head = command.head(args.length);
      size = head.length + sizeLimit(args);
      if (size > OUTBOX_BYTES) bytes = Buffer.allocUnsafeSlow(size);
    } catch (error) {
      return Promise.reject(error);
    }
    const promise = new Promise(capture);
    const entry = new Entry(resolveLast, rejectLast, command.convert);
    this.add(entry, command.buffers);
    if (signal !== null) this.watch(signal, entry);
    if (bytes === undefined) this.write(entry.tag, head, args, size);
    else native.submit(this, entry.tag, bytes, writeCommand(bytes, 0, head, args));
    return promise;
  }

  /** The same at the nodes that `where` selects. */
  submitTo(where, command, args, signal) {
    if (this.closed) return Promise.reject(closed());
    if (signal !== null && signal.aborted) return Promise.reject(abortError(signal));
    let words;
    try {
      args = normalize(command.argumentsOf === null ? args : command.argumentsOf(args), command.name);
      words = [command.name, ...args].map((word) => (typeof word === "string" ? Buffer.from(word) : word));
    } catch (error) {
      return Promise.reject(error);
    }
    const promise = new Promise(capture);
    const entry = new Entry(resolveLast, rejectLast, command.convert);
    this.add(entry, command.buffers);
    if (signal !== null) this.watch(signal, entry);
    native.submitTo(this, entry.tag, Buffer.from(`${where}\0`), words);
    return promise;
  }

  /** Encodes a command of at most this size into the outbox. */
  write(tag, head, args, size) {
    const { ends, outbox } = this;
    // The addon has emptied it if the count is 0.
    if (ends[0] === 0) this.end = 0;
    else if (ends[0] === OUTBOX_COMMANDS || this.end + size > OUTBOX_BYTES) {
      native.flush(this);
      this.end = 0;
    }
    this.end = writeCommand(outbox, this.end, head, args);
    const count = ends[0];
    ends[0] = count + 1;
    ends[1 + 2 * count] = tag;
    ends[2 + 2 * count] = this.end;
    if (count === 0) native.schedule(this);
  }

  /** Submits the encoded commands of a pipeline. Their replies are one array. */
  submitPipeline(bytes, length, { atomic, buffers, signal, convert }) {
    if (this.closed) return Promise.reject(closed());
    if (signal !== null && signal.aborted) return Promise.reject(abortError(signal));
    const promise = new Promise(capture);
    const entry = new Entry(resolveLast, rejectLast, convert);
    this.add(entry, buffers);
    if (signal !== null) this.watch(signal, entry);
    native.pipeline(this, entry.tag, bytes, length, atomic);
    return promise;
  }

  /** Gives up a command when its signal is aborted. A signal has one listener, for any number of commands. */
  watch(signal, entry) {
    entry.signal = signal;
    let watched = this.signals.get(signal);
    if (watched === undefined) {
      const tags = new Set();
      const listener = () => tags.forEach((tag) => native.cancel(this, tag));
      watched = { tags, listener };
      this.signals.set(signal, watched);
      signal.addEventListener("abort", listener);
    }
    watched.tags.add(entry.tag);
  }

  unwatch({ signal, tag }) {
    const { tags, listener } = this.signals.get(signal);
    tags.delete(tag);
    if (tags.size > 0) return;
    this.signals.delete(signal);
    signal.removeEventListener("abort", listener);
  }

  /** Stores an entry, and gives its command a tag. */
  add(entry, buffers) {
    const number = this.unused.length > 0 ? this.unused.pop() : this.entries.length;
    this.entries[number] = entry;
    this.inFlight++;
    entry.tag = ((number << FLAG_BITS) | (buffers ? this.flags | AS_BUFFER : this.flags)) >>> 0;
  }

  remove(number) {
    const entry = this.entries[number];
    this.entries[number] = undefined;
    this.unused.push(number);
    if (--this.inFlight === 0 && this.onIdle !== null) this.onIdle();
    return entry;
  }

  /** Commands in flight fail with CLOSED, or with INTERRUPTED if they were cancelled before. */
  close() {
    if (this.closed) return;
    this.closed = true;
    native.close(this);
  }

  /** The result of one of the functions that inspect the client. */
  inspect(name, ...args) {
    const value = native[name](this, ...args);
    if (value instanceof Error) throw value;
    return value;
  }
}

module.exports = { Core };
