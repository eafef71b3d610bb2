"use strict";

const { RUN, addCommands } = require("./methods");
const { addScanStreams } = require("./scan");

/** A node of the cluster, as nodes() returns it. Its methods run commands there. It uses the client's connections. */
class Node {
  #run;

  /** `run` takes a command and its arguments, and runs it at this node. */
  constructor(address, run) {
    const colon = address.lastIndexOf(":");
    const isPath = address.startsWith("/");
    /** Where the node is, as in ioredis: { host, port }, or { path } of a unix socket. */
    this.options = isPath
      ? { path: address }
      : { host: address.slice(0, colon).replace(/^\[|\]$/g, ""), port: Number(address.slice(colon + 1)) };
    this.#run = run;
  }

  [RUN](command, args) {
    return this.#run(command, args);
  }
}

addCommands(Node.prototype);
addScanStreams(Node.prototype);

module.exports = { Node };
