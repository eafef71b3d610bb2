"use strict";

const { headOf, normalize, sizeLimit, writeCommand } = require("./encode");
const { RUN, addCommands, takeTail, withCallback } = require("./methods");
const { toStrings } = require("./replies");

const FIRST_SIZE = 1024;
// On a pinned connection the library leaves these to the caller, because WATCH may precede them.
const MULTI = headOf("MULTI", 0);
const EXEC = headOf("EXEC", 0);

/** Commands that are sent together by exec(). Each command is a method that returns the pipeline. */
class Pipeline {
  #core;
  #atomic;
  #bytes = null;
  #end = 0;
  #commands = [];
  #callbacks = [];

  constructor(core, atomic, scripts, commands) {
    this.#core = core;
    this.#atomic = atomic;
    for (const script of scripts) script.addTo(this);
    for (const [name, ...args] of commands ?? []) this.#method(name).apply(this, args);
  }

  get isPipeline() {
    return true;
  }

  /** The number of commands. */
  get length() {
    return this.#commands.length;
  }

  /**
   * Sends the commands, and resolves to [error, result] of each, in order. A callback may follow the options.
   * Afterwards the pipeline is empty.
   */
  exec(...args) {
    const { callback, signal } = takeTail(args);
    const promise = this.#send(signal);
    return callback === null ? promise : withCallback(promise, callback);
  }

  #send(signal) {
    const commands = this.#commands;
    const callbacks = this.#callbacks;
    if (commands.length === 0) return Promise.resolve([]);
    const isPinned = this.#atomic && this.#core.isPinned;
    const bytes = isPinned ? Buffer.concat([MULTI, this.#bytes.subarray(0, this.#end), EXEC]) : this.#bytes;
    const length = isPinned ? bytes.length : this.#end;
    this.#commands = [];
    this.#callbacks = [];
    this.#bytes = null;
    this.#end = 0;
    const buffers = commands.some((command) => command.buffers);
    const convert = (values) => {
      if (isPinned) values = resultOfExec(values);
      const results = values === null ? null : values.map((value, i) => resultOf(commands[i], value, buffers));
      for (const [i, callback] of callbacks) process.nextTick(callback, ...(results?.[i] ?? [null, null]));
      return results;
    };
    const atomic = this.#atomic && !isPinned;
    return this.#core.submitPipeline(bytes, length, { atomic, buffers, signal, convert });
  }

  [RUN](command, args) {
    const { callback, signal } = takeTail(args);
    if (signal !== null) throw new TypeError("a command of a pipeline has no signal: pass { signal } to exec()");
    args = normalize(command.argumentsOf === null ? args : command.argumentsOf(args), command.name);
    const head = command.head(args.length);
    this.#reserve(head.length + sizeLimit(args));
    this.#end = writeCommand(this.#bytes, this.#end, head, args);
    if (callback !== null) this.#callbacks.push([this.#commands.length, callback]);
    this.#commands.push(command);
    return this;
  }

  #reserve(size) {
    const needed = this.#end + size;
    if (this.#bytes !== null && needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, FIRST_SIZE, 2 * this.#end));
    if (this.#bytes !== null) this.#bytes.copy(grown, 0, 0, this.#end);
    this.#bytes = grown;
  }

  #method(name) {
    const method = this[String(name).toLowerCase()] ?? this[name];
    if (typeof method !== "function")
      throw new TypeError(`pipeline: ${name} is not a command: use ["call", "NAME", ...]`);
    return method;
  }
}

/** The replies to the commands between MULTI and EXEC; null if a watched key was changed. */
function resultOfExec(values) {
  const result = values.at(-1);
  if (result instanceof Error) throw result;
  return result;
}

/** [error, result] for one value of the array that the library returns. */
function resultOf(command, value, buffers) {
  if (value instanceof Error) return [value, undefined];
  try {
    if (buffers && !command.buffers) value = toStrings(value);
    return [null, command.convert === null ? value : command.convert(value)];
  } catch (error) {
    return [error, undefined];
  }
}

addCommands(Pipeline.prototype);

module.exports = { Pipeline };
