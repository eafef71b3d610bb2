"use strict";

const { EventEmitter } = require("node:events");
const native = require("./native");
const { Core } = require("./core");
const { closed, invalid } = require("./errors");
const { Command, RUN, addCommands, commandOf, takeTail, withCallback } = require("./methods");
const { Node } = require("./node");
const { clientOptions, derivedOptions } = require("./options");
const { Pipeline } = require("./pipeline");
const { addScanStreams } = require("./scan");
const { Script } = require("./script");
const { COMMANDS: SUBSCRIBER_COMMANDS, Subscriber } = require("./subscriber");

// The nodes of a shard by ioredis's names of the roles. A shard may have lost its primary.
const primaryOf = ({ primary }) => (primary === null ? [] : [primary]);
const ROLES = {
  all: (shard) => [...primaryOf(shard), ...shard.replicas],
  master: primaryOf,
  slave: (shard) => shard.replicas,
};

// Any node may answer it.
const ECHO = new Command("ECHO");

/**
 * A client of a Redis or Valkey cluster, or of a single server.
 *
 * Events: "connect" and "ready" when the first server has answered; "error" when connecting failed, unless nobody
 * listens (every command tries again by itself); "close" and "end" after the client was closed. Messages of
 * subscriptions: "message", "pmessage" and "smessage", each with a form for Buffers, and "gap" where messages may have
 * been missed.
 */
class Cluster extends EventEmitter {
  #core;
  #settings;
  #scripts = new Map();
  #connecting = null;
  #closing = null;
  #subscriber = null;

  constructor(nodes, options = {}) {
    super();
    if (nodes instanceof Derivation) {
      this.#settings = nodes.settings;
      this.#core = nodes.core;
    } else {
      this.#settings = { ...clientOptions(nodes, options), nodes, given: options };
      this.#core = Core.open(this.#settings.options, this.#settings.numbersAsText);
    }
    /** "wait", "connecting", "ready" or "end". */
    this.status = "wait";
    this.isCluster = true;
    for (const [name, script] of Object.entries(this.#settings.scripts)) this.defineCommand(name, script);
    if (!this.#settings.lazy) this.connect().catch(() => {});
  }

  /** Waits until a server has answered. Calling it is optional: the constructor and each command connect. */
  connect() {
    if (this.status === "ready") return Promise.resolve();
    if (this.#closing !== null) return Promise.reject(closed());
    this.#connecting ??= this.#connect();
    return this.#connecting;
  }

  async #connect() {
    this.status = "connecting";
    try {
      await this.#core.submit(ECHO, ["rediscluster"], null);
    } catch (error) {
      // A server may refuse the command to this user: then it has answered.
      if (this.status !== "connecting" || !this.stats().connected) {
        if (this.status === "connecting") this.status = "wait";
        if (this.status === "wait" && this.listenerCount("error") > 0) this.emit("error", error);
        throw error;
      }
    } finally {
      this.#connecting = null;
    }
    if (this.status !== "connecting") return;
    this.status = "ready";
    this.emit("connect");
    this.emit("ready");
  }

  [RUN](command, args) {
    return this.#run(null, command, args);
  }

  /** Runs a command where the library sends it, or at the nodes that `where` selects. */
  #run(where, command, args) {
    let callback = null;
    let signal = null;
    const last = args.length > 0 ? args[args.length - 1] : undefined;
    if (typeof last === "function" || typeof last === "object") ({ callback, signal } = takeTail(args));
    let promise;
    if (this.#closing !== null) promise = Promise.reject(closed());
    else if (where === null) promise = this.#core.submit(command, args, signal);
    else promise = this.#core.submitTo(where, command, args, signal);
    // The command connects. This only finds out when, for the events.
    if (this.status === "wait") this.connect().catch(() => {});
    return callback === null ? promise : withCallback(promise, callback);
  }

  /**
   * Runs any command at the nodes that `where` selects: "host:port", "slot:N", "key:K" or "random"; or "all",
   * "primaries" or "replicas", whose result is an object of each node's result by its name.
   */
  callTo(where, name, ...args) {
    return this.#run(String(where), commandOf(name, false), args);
  }

  /** The same with texts as Buffers. */
  callToBuffer(where, name, ...args) {
    return this.#run(String(where), commandOf(name, true), args);
  }

  /** The nodes that the client knows: "all", "master" or "slave". Their methods run commands there. */
  nodes(role = "all") {
    if (!Object.hasOwn(ROLES, role))
      throw invalid(`nodes(): ${String(role)} is not a role: pass "all", "master" or "slave"`);
    return this.topology()
      .flatMap(ROLES[role])
      .map(({ address }) => new Node(address, (command, args) => this.#run(address, command, args)));
  }

  /** Commands that are sent together: pipeline().set("a", 1).get("a").exec(). */
  pipeline(commands) {
    return new Pipeline(this.#core, false, this.#scripts.values(), commands);
  }

  /** The same as a transaction, MULTI and EXEC. All keys must be in one slot. */
  multi(commands, options = commands) {
    if (!Array.isArray(commands)) commands = undefined;
    if (options?.pipeline === false) {
      throw invalid(
        "multi({ pipeline: false }) is not supported: all commands share the connections; use multi()...exec()",
      );
    }
    return new Pipeline(this.#core, true, this.#scripts.values(), commands);
  }

  /** Makes a Lua script a method: defineCommand("name", { lua, numberOfKeys, readOnly }). */
  defineCommand(name, definition) {
    const script = new Script(name, definition);
    this.#scripts.set(name, script);
    script.addTo(this);
  }

  /** Another client of the same cluster with some options changed, those that CONFIGURATION.md marks as per handle. */
  with(options) {
    return this.#derived(this.#core.derive(derivedOptions(options)), options);
  }

  /**
   * Another client with one dedicated connection, to the primary of this key, for WATCH: after
   * `pinned.watch("key")`, `pinned.multi()...exec()` resolves to null if the key was changed.
   */
  pin(key) {
    return this.#derived(this.#core.pin(key));
  }

  #derived(core, options = {}) {
    const given = { ...this.#settings.given, ...options };
    const client = new Cluster(new Derivation(core, { ...this.#settings, lazy: true, given }));
    client.status = this.status === "ready" ? "ready" : "wait";
    for (const script of this.#scripts.values()) client.defineCommand(script.name, script);
    return client;
  }

  /** Another client that reads from primaries and replicas, and refuses writes with a ReadonlyError. */
  readonly() {
    return this.with({ readonly: true });
  }

  /** A new client with the same options, except for those that are passed. It has connections of its own. */
  duplicate(nodes = [], options = {}) {
    return new Cluster(nodes.length > 0 ? nodes : this.#settings.nodes, { ...this.#settings.given, ...options });
  }

  /** Waits for the commands in flight, and closes the client. */
  quit(callback) {
    this.#closing ??= this.#quit();
    return callback === undefined ? this.#closing : withCallback(this.#closing, callback);
  }

  async #quit() {
    if (this.#core.inFlight > 0) await new Promise((resolve) => (this.#core.onIdle = resolve));
    this.#close();
    return "OK";
  }

  /** Closes the client at once. Commands in flight fail with a ClosedError. */
  disconnect() {
    this.#closing ??= Promise.resolve("OK");
    this.#close();
  }

  #close() {
    if (this.status === "end") return;
    this.status = "end";
    this.#subscriber?.close();
    this.#core.close();
    process.nextTick(() => {
      this.emit("close");
      this.emit("end");
    });
  }

  /** Runs subscribe() and the methods like it. */
  #subscribe(name, args) {
    const callback = typeof args[args.length - 1] === "function" ? args.pop() : undefined;
    let promise;
    if (this.#closing !== null) promise = Promise.reject(closed());
    else {
      try {
        this.#subscriber ??= new Subscriber(this.#core, this);
        promise = this.#subscriber.run(name, args);
        // It connects by itself. This only finds out when, for the events.
        if (this.status === "wait") this.connect().catch(() => {});
      } catch (error) {
        promise = Promise.reject(error);
      }
    }
    return callback === undefined ? promise : withCallback(promise, callback);
  }

  static {
    for (const name of Object.keys(SUBSCRIBER_COMMANDS)) {
      const value = function (...args) {
        return this.#subscribe(name, args);
      };
      Object.defineProperty(this.prototype, name, { value, writable: true, configurable: true });
    }
  }

  /** Replaces the credentials of all clients of the cluster. Open connections use them before their next command. */
  setCredentials(user, password) {
    const [userText, passwordText] = [user ?? "", password ?? ""].map((text) => Buffer.from(`${text}\0`));
    if (native.setCredentials(this.#core, userText, passwordText)) return;
    throw invalid(
      "the credentials are not valid: at most 64 KiB of UTF-8, a user without control characters, and a password " +
        "for a user; or the client was closed",
    );
  }

  /** The cluster as the client knows it: an array of shards. No network I/O. */
  topology() {
    return this.#core.inspect("topology");
  }

  /** The counters of STATISTICS.md by name. No network I/O. */
  stats() {
    return this.#core.inspect("stats");
  }

  /** How a command would be routed, without running it. No network I/O. */
  explain(...words) {
    return this.#core.inspect(
      "explain",
      words.flat().map((word) => (Buffer.isBuffer(word) ? word : Buffer.from(String(word)))),
    );
  }

  /** The number of commands in flight. */
  get inFlight() {
    return this.#core.inFlight;
  }

  /** The slot of a key, 0 to 16383. */
  static keySlot(key) {
    return native.keySlot(Buffer.from(key));
  }
}

/** What with() and pin() pass to the constructor. */
class Derivation {
  constructor(core, settings) {
    this.core = core;
    this.settings = settings;
  }
}

addCommands(Cluster.prototype);
addScanStreams(Cluster.prototype);
if (Symbol.asyncDispose) {
  Cluster.prototype[Symbol.asyncDispose] = async function () {
    await this.quit();
  };
}

module.exports = { Cluster };
