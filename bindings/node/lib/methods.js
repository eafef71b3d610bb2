"use strict";

const names = require("./command_names");
const { headOf } = require("./encode");
const { argumentTransformers, transformers } = require("./replies");

// The encoded beginning of a command is kept for fewer arguments than this.
const HEADS = 16;

/** The method of clients and pipelines that takes a command and its arguments. */
const RUN = Symbol("run");

/** A command as a method calls it: with its encoded beginnings, and what to do with its arguments and its reply. */
class Command {
  constructor(name, { buffers = false, argumentsOf = null, convert = null } = {}) {
    this.name = name;
    this.buffers = buffers;
    this.argumentsOf = argumentsOf;
    this.convert = convert;
    this.heads = Array(HEADS).fill(null);
  }

  /** The encoded beginning of the command with this number of arguments. */
  head(count) {
    return count < HEADS ? (this.heads[count] ??= headOf(this.name, count)) : headOf(this.name, count);
  }
}

/** Separates a callback and a signal from the arguments, in that order from the end. */
function takeTail(args) {
  const tail = { callback: null, signal: null };
  if (typeof args[args.length - 1] === "function") tail.callback = args.pop();
  const last = args[args.length - 1];
  if (typeof last === "object" && last !== null && last.signal instanceof AbortSignal) {
    tail.signal = last.signal;
    args.pop();
  }
  return tail;
}

/** Calls `callback(error, value)` as well. An exception that it throws is not an error of the command. */
function withCallback(promise, callback) {
  promise.then(
    (value) => process.nextTick(callback, null, value),
    (error) => process.nextTick(callback, error),
  );
  return promise;
}

const plain = new Map(names.map((name) => [name, new Command(name)]));
const plainBuffers = new Map(names.map((name) => [name, new Command(name, { buffers: true })]));

/** The command of call(): its arguments and its reply are not converted. */
function commandOf(name, buffers) {
  const upper = String(name).toUpperCase();
  return (buffers ? plainBuffers : plain).get(upper) ?? new Command(String(name), { buffers });
}

function callWith(target, words, buffers) {
  // As in ioredis, the arguments may be an array: call("SET", ["key", "value"]).
  const [name, ...args] = words;
  return target[RUN](commandOf(name, buffers), args);
}

/** Adds a method for each command, and one with the suffix Buffer that returns texts as Buffers. */
function addCommands(prototype) {
  const define = (name, value) => {
    if (!(name in prototype)) Object.defineProperty(prototype, name, { value, writable: true, configurable: true });
  };
  for (const name of names) {
    for (const buffers of [false, true]) {
      const convert = transformers[name] ?? null;
      const command = new Command(name, { buffers, convert, argumentsOf: argumentTransformers[name] ?? null });
      define(name.toLowerCase() + (buffers ? "Buffer" : ""), function (...args) {
        return this[RUN](command, args);
      });
    }
  }
  define("call", function (...words) {
    return callWith(this, words, false);
  });
  define("callBuffer", function (...words) {
    return callWith(this, words, true);
  });
}

module.exports = { Command, RUN, addCommands, commandOf, takeTail, withCallback };
