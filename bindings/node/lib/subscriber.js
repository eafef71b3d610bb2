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
// The message of the error that the library repeats every timeout_ms while channels are not subscribed.
const NOT_SUBSCRIBED = / not subscribed after (\d+) ms \(timeout_ms\), which goes on(?:: (.*))?$/s;
// An attempt to connect also ends after timeout_ms. Its error says more, and comes a little later.
const REASON_MS = 50;

const wantsBuffers = (subscriber) => BUFFER_EVENTS.some((event) => subscriber.emitter.listenerCount(event) > 0);
const text = (value) => (Buffer.isBuffer(value) ? value.toString() : value);
const textOfKey = (key) => Buffer.from(key, "latin1").toString();
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
  constructor(name, channels, began, resolve, reject) {
    this.name = name;
    // The names that this command, and none before it, subscribed to, as latin1 texts of their bytes.
    this.began = began;
    this.startedAt = performance.now();
    this.timer = null;
    // Those that are not confirmed, as texts. null stands for the one confirmation of an UNSUBSCRIBE that ends nothing.
    this.channels = channels;
    this.error = null;
    this.isGivenUp = false;
    // Whether a later command waits for one of the names that this one began.
    this.isShared = false;
    this.resolve = resolve;
    this.reject = reject;
  }

  /** Whether it begins subscriptions, and goes on. Only such a command may wait for long. */
  isWaiting() {
    return !this.isGivenUp && COMMANDS[this.name].begins;
  }

  /** The error of the command when `ms` have passed, of the same class as `error`. */
  timedOut({ constructor, code, node }, ms, reason) {
    const what = this.channels.length === 1 ? this.channels[0] : `${this.channels.length} channels`;
    const did = `${this.name.toUpperCase()} ${what} was given up after ${ms} ms (timeout_ms)`;
    return new constructor(`${code} ${did}: ${reason}`, { code, node });
  }
}

/** The subscriptions of a client, as a subscriber of the library. Their messages are events of `emitter`. */
class Subscriber {
  constructor(core, emitter) {
    this.emitter = emitter;
    // By name of the command, in their order.
    this.pending = Object.fromEntries(Object.keys(COMMANDS).map((name) => [name, []]));
    // Which command that waits began a subscription: for each kind a Map by name.
    this.beginners = { channels: new Map(), patterns: new Map(), shardChannels: new Map() };
    // The names, as latin1 texts of their bytes.
    this.channels = new Set();
    this.patterns = new Set();
    this.shardChannels = new Set();
    // The last error before a server has confirmed anything: no node could be reached.
    this.unreachable = null;
    this.hasSubscribed = false;
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
      const keys = [...names, ...ended].map((each) => each.toString("latin1"));
      const began = new Set(begins ? keys.filter((key) => !wanted.has(key)) : []);
      for (const key of keys) this.share(this.beginners[kind], key, begins);
      for (const key of keys) wanted[begins ? "add" : "delete"](key);
      const pending = new Pending(name, channels.length > 0 ? channels : [null], began, resolve, reject);
      for (const key of began) this.beginners[kind].set(key, pending);
      this.pending[name].push(pending);
      this.update();
    });
  }

  /** Another command is about a name. If it is confirmed or ended, the command that began it no longer ends it. */
  share(beginners, key, begins) {
    const pending = beginners.get(key);
    if (pending === undefined) return;
    if (begins && pending.channels.includes(textOfKey(key))) pending.isShared = true;
    else {
      pending.began.delete(key);
      beginners.delete(key);
    }
  }

  /** The process stays alive while there are subscriptions. */
  update() {
    const isPending = Object.values(this.pending).some((each) => each.length > 0);
    const inUse = isPending || this.channels.size + this.patterns.size + this.shardChannels.size > 0;
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
    const pending = this.pending[name].find((each) => each.channels.includes(channel));
    if (pending === undefined) return false;
    pending.error ??= error;
    if (pending.isWaiting() && error === null) this.hasSubscribed = true;
    pending.channels.splice(pending.channels.indexOf(channel), 1);
    if (pending.channels.length === 0) this.settle(pending, count);
    return true;
  }

  settle(pending, count) {
    clearTimeout(pending.timer);
    const { name, began } = pending;
    this.pending[name].splice(this.pending[name].indexOf(pending), 1);
    const beginners = this.beginners[COMMANDS[name].kind];
    for (const key of began) if (beginners.get(key) === pending) beginners.delete(key);
    this.update();
    if (pending.error === null) pending.resolve(count);
    else pending.reject(pending.error);
  }

  /** A server has refused a channel for good: the command that asked for it fails, when its other channels are done. */
  refuse(error, name, channel) {
    this[COMMANDS[name].kind].delete(Buffer.from(channel).toString("latin1"));
    return this.end(name, channel, 0, error);
  }

  /**
   * Ends a command that waits, with an error, and all subscriptions that it began. UNSUBSCRIBE also confirms what it
   * ends, so the command fails with the next pushes.
   */
  giveUp(pending, error) {
    clearTimeout(pending.timer);
    pending.isGivenUp = true;
    pending.error ??= error;
    const ended = [];
    for (const key of pending.began) {
      const isHeir = (each) => each.isWaiting() && each.channels.includes(textOfKey(key));
      const heir = pending.isShared ? this.pending[pending.name].find(isHeir) : undefined;
      if (heir === undefined) ended.push(Buffer.from(key, "latin1"));
      else {
        heir.began.add(key);
        heir.isShared = true;
        this.beginners[COMMANDS[heir.name].kind].set(key, heir);
      }
    }
    // What others have subscribed to stays, and its confirmation may not come.
    const texts = new Set(ended.map(text));
    pending.channels = pending.channels.filter((channel) => texts.has(channel));
    if (ended.length > 0) this.run(pending.name.replace("subscribe", "unsubscribe"), ended).catch(() => {});
    if (pending.channels.length === 0) this.settle(pending, 0);
  }

  /** No node could be reached, or, as a report says, channels are not subscribed after timeout_ms. */
  endWaits(error) {
    const waiting = Object.values(this.pending).flatMap((each) => each.filter((pending) => pending.isWaiting()));
    const report = NOT_SUBSCRIBED.exec(error.message);
    if (report !== null) for (const pending of waiting) this.endLater(pending, error, report);
    else if (!this.hasSubscribed) {
      this.unreachable = error;
      for (const pending of waiting) this.giveUp(pending, error);
    }
  }

  /** The report is about the channels that have waited longest: a later command has its whole time. */
  endLater(pending, error, [, ms, reason]) {
    if (pending.timer !== null) return;
    const left = Number(ms) - (performance.now() - pending.startedAt);
    const giveUp = () => {
      const cause = reason === undefined && !this.hasSubscribed && this.unreachable;
      const why = reason ?? (cause ? cause.message : "no server has confirmed it");
      this.giveUp(pending, pending.timedOut(cause || error, ms, why));
    };
    pending.timer = setTimeout(giveUp, Math.max(left, 0) + (reason === undefined ? REASON_MS : 0));
  }

  /** Something is broken. The library goes on by itself, unless the client was closed. */
  fail(error) {
    if (error.code === "CLOSED") return this.close();
    const refused = error[MARK] === GIVEN_UP ? REFUSED.exec(error.message) : null;
    if (refused !== null && this.refuse(error, refused[1].toLowerCase(), refused[2])) return;
    if (error[MARK] === undefined) this.endWaits(error);
    if (this.emitter.listenerCount("error") > 0) this.emitter.emit("error", error);
  }

  /** Ends all subscriptions at once. Commands that are not confirmed fail. */
  close() {
    if (this.closed) return;
    this.closed = true;
    native.closeSubscriber(this);
    for (const { reject, timer } of Object.values(this.pending).flatMap((each) => each.splice(0))) {
      clearTimeout(timer);
      reject(closed());
    }
  }
}

module.exports = { COMMANDS, Subscriber };
