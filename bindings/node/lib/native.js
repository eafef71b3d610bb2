"use strict";

const path = require("node:path");

const platform = `${process.platform}-${process.arch}`;
const builtIn = path.join(__dirname, "..", "prebuilds", platform, "rediscluster.node");

/** The addon: the file that RDC_NODE_ADDON names, or else the one in this package. */
function load() {
  const file = process.env.RDC_NODE_ADDON || builtIn;
  try {
    return require(path.resolve(file));
  } catch (cause) {
    throw new Error(
      `rediscluster: cannot load its addon for ${platform}, ${file}: ${cause.message}; ` +
        "install a package built for this platform (`make npm` builds one), or set RDC_NODE_ADDON to the addon's path",
      { cause },
    );
  }
}

module.exports = load();
