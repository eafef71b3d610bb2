"use strict";

const { Readable } = require("node:stream");

/** The replies of SCAN, HSCAN, SSCAN or ZSCAN: a stream of arrays. It reads ahead by one step only. */
class ScanStream extends Readable {
  #step;
  #cursor = "0";

  constructor(step, { highWaterMark = 1 } = {}) {
    super({ objectMode: true, highWaterMark });
    this.#step = step;
  }

  _read() {
    this.#step(this.#cursor).then(
      ([cursor, elements]) => {
        this.#cursor = cursor.toString();
        this.push(elements);
        if (this.#cursor === "0") this.push(null);
      },
      (error) => this.destroy(error),
    );
  }

  /** Ends the stream early. */
  close() {
    this.destroy();
  }
}

/** The arguments of a step after the cursor. */
function scanArguments({ match, count, type, noValues }) {
  const args = [];
  if (match !== undefined) args.push("MATCH", match);
  if (count !== undefined) args.push("COUNT", count);
  if (type !== undefined) args.push("TYPE", type);
  if (noValues) args.push("NOVALUES");
  return args;
}

/** Adds scanStream(options), and hscanStream(key, options) and so on, each also with the suffix Buffer. */
function addScanStreams(prototype) {
  for (const suffix of ["", "Buffer"]) {
    prototype[`scan${suffix}Stream`] = function (options = {}) {
      const args = scanArguments(options);
      return new ScanStream((cursor) => this[`scan${suffix}`](cursor, ...args), options);
    };
    for (const command of ["hscan", "sscan", "zscan"]) {
      prototype[`${command}${suffix}Stream`] = function (key, options = {}) {
        const args = scanArguments(options);
        return new ScanStream((cursor) => this[command + suffix](key, cursor, ...args), options);
      };
    }
  }
}

module.exports = { addScanStreams };
