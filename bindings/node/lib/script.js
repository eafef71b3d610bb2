"use strict";

const { createHash } = require("node:crypto");
const { Command, RUN, takeTail, withCallback } = require("./methods");

const isMissing = (error) => error.code === "NOSCRIPT";

/**
 * A Lua script as a command. EVALSHA names it by its digest. If the server does not have it, EVAL sends it once; from
 * then on the library sends it to nodes that do not have it. A pipeline always sends EVAL, because a command of it
 * cannot be repeated in its place.
 */
class Script {
  constructor(name, { lua, numberOfKeys = null, readOnly = false }) {
    if (typeof lua !== "string") throw new TypeError(`the script ${name} needs the option lua, a string`);
    this.name = name;
    this.lua = lua;
    this.digest = createHash("sha1").update(lua).digest("hex");
    this.numberOfKeys = numberOfKeys;
    this.suffix = readOnly ? "_RO" : "";
  }

  /** Adds the methods `name` and `nameBuffer` to a client or a pipeline. */
  addTo(target) {
    for (const buffers of [false, true]) {
      const whole = new Command(`EVAL${this.suffix}`, { buffers });
      const byDigest = new Command(`EVALSHA${this.suffix}`, { buffers });
      const method = (...args) => {
        const { callback, signal } = takeTail(args);
        if (this.numberOfKeys !== null) args.unshift(this.numberOfKeys);
        const tail = signal === null ? [] : [{ signal }];
        const run = (command, script) => target[RUN](command, [script, ...args, ...tail]);
        if (target.isPipeline) return target[RUN](whole, [this.lua, ...args, ...(callback === null ? [] : [callback])]);
        const promise = run(byDigest, this.digest).catch((error) => {
          if (!isMissing(error)) throw error;
          return run(whole, this.lua);
        });
        return callback === null ? promise : withCallback(promise, callback);
      };
      const name = this.name + (buffers ? "Buffer" : "");
      Object.defineProperty(target, name, { value: method, writable: true, configurable: true });
    }
  }
}

module.exports = { Script };
