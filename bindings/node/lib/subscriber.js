"use strict";

const native = require("./native");
const { normalize } = require("./encode");
const { GIVEN_UP, MARK, closed, errorFromMessage } = require("./errors");

// The events of each kind of message: for texts, and for Buffers.
const MESSAGES = {
  message: "messageBuffer",
  pmessage: "pmessageBuffer",
  smessage: "smessageBuffer",
};
const BUFFER_EVENTS = Object.values(MESSAGES);

/** The commands: which kind of subscriptions they are about, and whether they begin or end them. */
const COMMANDS = {
  subscribe: { kind: "channels", begins: true },
  psubscribe: { kind: "patterns", begins: true },
  ssubscribe: { kind: "shardChannels", begins: true },
  unsubscribe: { kind: "channels", begins: false },
  punsubscribe: { kind: "patterns", begins: false },
  sunsubscribe: { kind: "shardChannels", begins: false },
};

// The message of an error that is marked with GIVEN_UP names the command and the channel.
const REFUSED = / refused (S?P?SUBSCRIBE) (.*?), which is not tried again: /s;

const wantsBuffers = (subscriber) => BUFFER_EVENTS.some((event) => subscriber.emitter.listenerCount(event) > 0);
const text = (value) => (Buffer.isBuffer(value) ? value.toString() : value);
const rethrow = (error) => {
  throw error;
};

/** Passes pushes to the listeners. The addon calls it. An exception of a listener is uncaught, and loses no message. */
function deliverPushes(subscriber, ...pushes) {
  for (const push of pushes) {
    try {
      subscriber.handle(push);
    } catch (error) {
      process.nextTick(rethrow, error);
    }
  }
}

native.setUpSubscriber(deliverPushes, wantsBuffers);

/** A command whose channels are not all confirmed. */
class Pending {
  constructor(name, channels, resolve, reject) {
    this.name = name;
    // Those that are not confirmed, as texts. null stands for the one confirmation of an UNSUBSCRIBE that ends nothing.
    this.channels = channels;
    this.error = null;
    this.resolve = resolve;
    this.reject = reject;
  }
}

/** The subscriptions of a client, as a subscriber of the library. Their messages are events of `emitter`. */
class Subscriber {
  constructor(core, emitter) {
    this.emitter = emitter;
    this.pending = [];
    // The names, as latin1 texts of their bytes.
    this.channels = new Set();
    this.patterns = new Set();
    this.shardChannels = new Set();
    this.closed = false;
    const failure = native.openSubscriber(this, core);
    if (failure !== null) throw errorFromMessage(failure);
  }

  /** Runs one of the commands. Resolves to the number of subscriptions when all its channels are confirmed. */
  run(name, args) {
    if (this.closed) return Promise.reject(closed());
    const { kind, begins } = COMMANDS[name];
    return new Promise((resolve, reject) => {
      const names = normalize(args, name.toUpperCase()).map((arg) => Buffer.from(arg));
      const failure = native.subscriberCommand(this, [Buffer.from(name.toUpperCase()), ...names]);
      if (failure !== null) throw failure;
      const wanted = this[kind];
      const ended = begins || names.length > 0 ? [] : [...wanted].map((each) => Buffer.from(each, "latin1"));
      const channels = [...names, ...ended].map(text);
      for (const each of [...names, ...ended]) wanted[begins ? "add" : "delete"](each.toString("latin1"));
      this.pending.push(new Pending(name, channels.length > 0 ? channels : [null], resolve, reject));
      this.update();
    });
  }

  /** The process stays alive while there are subscriptions. */
  update() {
    const inUse = this.pending.length + this.channels.size + this.patterns.size + this.shardChannels.size > 0;
    native.setSubscriberInUse(this, inUse);
  }

  handle(push) {
    if (push instanceof Error) return this.fail(push);
    const kind = text(push[0]);
    if (kind in MESSAGES) this.emitMessage(kind, push);
    else if (kind === "gap") this.emitGap(push.map(text));
    else if (kind in COMMANDS) this.end(kind, text(push[1]), push[2], null);
  }

  emitMessage(kind, [, ...parts]) {
    const { emitter } = this;
    // As in ioredis, a pattern is always a text.
    if (kind === "pmessage") parts[0] = text(parts[0]);
    if (emitter.listenerCount(kind) > 0) emitter.emit(kind, ...parts.map(text));
    if (emitter.listenerCount(MESSAGES[kind]) > 0) emitter.emit(MESSAGES[kind], ...parts);
  }

  emitGap([, kind, name, reason, node]) {
    const isPattern = kind === "pmessage";
    this.emitter.emit("gap", {
      kind,
      channel: isPattern ? null : name,
      pattern: isPattern ? name : null,
      reason,
      node: node || null,
    });
  }

  /** A channel of a command is confirmed, or was refused. Channels of several nodes are confirmed in any order. */
  end(name, channel, count, error) {
    const pending = this.pending.find((each) => each.name === name && each.channels.includes(channel));
    if (pending === undefined) return false;
    pending.error ??= error;
    pending.channels.splice(pending.channels.indexOf(channel), 1);
    if (pending.channels.length > 0) return true;
    this.pending.splice(this.pending.indexOf(pending), 1);
    this.update();
    if (pending.error === null) pending.resolve(count);
    else pending.reject(pending.error);
    return true;
  }

  /** A server has refused a channel for good: the command that asked for it fails, when its other channels are done. */
  refuse(error, name, channel) {
    this[COMMANDS[name].kind].delete(Buffer.from(channel).toString("latin1"));
    return this.end(name, channel, 0, error);
  }

  /** Something is broken. The library goes on by itself, unless the client was closed. */
  fail(error) {
    if (error.code === "CLOSED") return this.close();
    const refused = error[MARK] === GIVEN_UP ? REFUSED.exec(error.message) : null;
    if (refused !== null && this.refuse(error, refused[1].toLowerCase(), refused[2])) return;
    if (this.emitter.listenerCount("error") > 0) this.emitter.emit("error", error);
  }

  /** Ends all subscriptions at once. Commands that are not confirmed fail. */
  close() {
    if (this.closed) return;
    this.closed = true;
    native.closeSubscriber(this);
    for (const { reject } of this.pending.splice(0)) reject(closed());
  }
}

module.exports = { COMMANDS, Subscriber };
