"use strict";

const { invalid } = require("./errors");

// Options of ioredis that have a counterpart: the name of the library's option, or a function that returns a list of
// names and values. The library checks the values.
const MAPPED = {
  scaleReads: readFrom,
  maxRedirections: "max_redirects",
  natMap: addressMap,
  username: "user",
  password: "password",
  db: "database",
  connectTimeout: "connect_timeout_ms",
  commandTimeout: "timeout_ms",
  socketTimeout: "attempt_timeout_ms",
  keepAlive: "keepalive_ms",
  connectionName: "client_name",
  protocol: (value) => (value === 2 || value === 3 ? [] : unknown("protocol", value, "2 or 3")),
  replyMapping: replyMapping,
  tls: tls,
};

// Options of ioredis that this package reads itself.
const OWN = new Set(["lazyConnect", "scripts", "stringNumbers", "redisOptions"]);

// Options of ioredis that are accepted and have no effect: the library does these things by itself, and always.
const WITHOUT_EFFECT = new Set([
  "autoPipeliningIgnoredCommands",
  "autoResendUnfulfilledCommands",
  "autoResubscribe",
  "clientInfoTag",
  "disableClientInfo",
  "enableAutoPipelining",
  "enableReadyCheck",
  "maxLoadingRetryTime",
  "maxRetriesPerRequest",
  "noDelay",
  "retryDelayOnClusterDown",
  "retryDelayOnFailover",
  "retryDelayOnMoved",
  "retryDelayOnTryAgain",
  "shardedSubscribers",
  "showFriendlyErrorStack",
  "slotsRefreshInterval",
  "slotsRefreshTimeout",
]);

const RETRIES =
  "the library connects again and retries by itself, within the time limit of each command: set timeout_ms";
const RESOLVES = "the library resolves names by itself: list the nodes, or map addresses with natMap or address_map";
const ONE_SERVER = "it describes one server: pass the nodes as the first argument";

// Options of ioredis that are refused, and why.
const REFUSED = {
  blockingTimeout: "a blocking command ends by its own timeout, with timeout_ms in addition",
  blockingTimeoutGrace: "a blocking command ends by its own timeout, with timeout_ms in addition",
  clusterNodeRetryStrategy: RETRIES,
  clusterRetryStrategy: RETRIES,
  Connector: "the library opens its connections itself",
  commandQueue: "the library has a queue of its own",
  dnsLookup: RESOLVES,
  enableOfflineQueue: "a command waits at most timeout_ms for the cluster: set timeout_ms",
  family: "the library tries all addresses of a name: pass an address instead of a name",
  himportFieldsets: "the library has no managed fieldsets",
  host: ONE_SERVER,
  keyPrefix: "the package does not change keys: put the prefix into the keys",
  monitor: "MONITOR belongs to one connection, and all commands share the connections",
  offlineQueue: "a command waits at most timeout_ms for the cluster: set timeout_ms",
  path: 'it describes one server: pass the URL "unix:///path" as the first argument',
  port: ONE_SERVER,
  readOnly: 'pass scaleReads: "all", or the option readonly to refuse writes as well',
  reconnectOnError: RETRIES,
  resolveSrv: RESOLVES,
  retryStrategy: RETRIES,
  sentinels: "the library does not use Sentinel: pass the nodes of the cluster",
  useSRVRecords: RESOLVES,
};

// What a refused option may be set to, because ioredis's default means the same.
const HARMLESS = {
  enableOfflineQueue: true,
  family: 0,
  monitor: false,
  useSRVRecords: false,
  keyPrefix: "",
};

function unknown(name, value, wanted) {
  throw invalid(`the option ${name} is ${String(value)}: pass ${wanted}`);
}

function readFrom(value) {
  const values = { master: "primary", slave: "replica", all: "any" };
  if (typeof value === "function") {
    throw invalid(
      'the option scaleReads is a function: the library chooses the node; pass "master", "slave", "all", or read_from',
    );
  }
  return ["read_from", values[value] ?? unknown("scaleReads", value, '"master", "slave" or "all"')];
}

function addressMap(value) {
  if (typeof value === "function") {
    throw invalid("the option natMap is a function: pass an object, or the option address_map");
  }
  return [
    "address_map",
    Object.entries(value)
      .map(([from, to]) => `${from}=${address(to.host, to.port)}`)
      .join(","),
  ];
}

// The shapes of RESP2 are the default, as in ioredis.
function replyMapping(value) {
  const protocols = { legacy: 2, resp3: 3 };
  return ["protocol", protocols[value] ?? unknown("replyMapping", value, '"legacy" or "resp3"')];
}

function tls(value) {
  const known = { servername: "tls_server_name" };
  const options = [];
  for (const [name, setting] of Object.entries(value === true ? {} : value)) {
    if (setting === undefined) continue;
    if (name === "rejectUnauthorized") options.push("tls_insecure_skip_verify", setting === false);
    else if (name in known) options.push(known[name], setting);
    else {
      throw invalid(
        `the option tls.${name} is not supported: the library reads PEM files; ` +
          "pass tls_ca_file, tls_cert_file and tls_key_file",
      );
    }
  }
  return options;
}

/** Adds options of ioredis, and the library's own options, to a list of names and values. */
function addOptions(list, options, where) {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || value === null || OWN.has(name) || WITHOUT_EFFECT.has(name)) continue;
    if (name in REFUSED) {
      if (name in HARMLESS && HARMLESS[name] === value) continue;
      throw invalid(`the option ${where}${name} of ioredis is not supported: ${REFUSED[name]}`);
    }
    if (name === "tls" && value === false) continue;
    const mapped = MAPPED[name] ?? name;
    list.push(...(typeof mapped === "string" ? [mapped, value] : mapped(value)));
  }
}

/** A list of names and values as texts, as the library reads them. */
function asTexts(list) {
  return list.map((value, i) => {
    const text = value === true ? "yes" : value === false ? "no" : String(value);
    if (text.includes("\0")) throw invalid(`the option ${list[i - (i % 2)]} contains a NUL character`);
    return text;
  });
}

function address(host, port) {
  const name = host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
  return port === undefined || port === null ? name : `${name}:${port}`;
}

/** The address of a node, which is an object, a port, "host:port" or a URL; its credentials are added to the list. */
function nodeAddress(node, list) {
  if (typeof node === "number") return address("127.0.0.1", node);
  if (typeof node === "string")
    return /^\d+$/.test(node) ? address("127.0.0.1", node) : node.replace(/^\w+:\/\//, "").replace(/\/$/, "");
  const { host = "127.0.0.1", port = 6379, ...others } = node;
  addOptions(list, others, "(of a node) ");
  return address(String(host), port);
}

function urlOf(nodes, list, secure) {
  if (typeof nodes === "string") return nodes;
  if (!Array.isArray(nodes) || nodes.length === 0) {
    throw invalid(
      'pass the nodes as the first argument: an array of { host, port }, or a URL "redis://host:port,host:port"',
    );
  }
  const encrypted = secure || nodes.some((node) => node?.tls || /^(rediss|valkeys):/.test(String(node)));
  const unix = nodes.find((node) => /^unix:/.test(String(node)));
  if (unix !== undefined) return unix;
  const credentials = new Set(nodes.map((node) => JSON.stringify({ ...node, host: 0, port: 0 })));
  if (nodes.every((node) => typeof node === "object") && credentials.size > 1) {
    throw invalid("the nodes have different options: user, password and TLS apply to the whole cluster");
  }
  return `${encrypted ? "rediss" : "redis"}://${nodes.map((node) => nodeAddress(node, list)).join(",")}`;
}

/** What the constructor's arguments mean: options of the library with their values by turns, and our own settings. */
function clientOptions(nodes, options) {
  const redisOptions = options.redisOptions ?? {};
  const list = [];
  const url = urlOf(nodes, list, Boolean(options.tls ?? redisOptions.tls));
  addOptions(list, redisOptions, "redisOptions.");
  addOptions(list, options, "");
  return {
    // A later entry replaces an earlier one. The default are ioredis's shapes of replies; creation never waits.
    options: asTexts(["protocol", 2, "url", url, ...list, "lazy", true]),
    lazy: Boolean(options.lazyConnect ?? redisOptions.lazyConnect ?? options.lazy),
    numbersAsText: Boolean(options.stringNumbers ?? redisOptions.stringNumbers),
    scripts: { ...redisOptions.scripts, ...options.scripts },
  };
}

/** The options of with(). */
function derivedOptions(options) {
  const list = [];
  addOptions(list, options, "");
  if (list.length === 0) throw invalid("with() needs at least one option to change");
  return asTexts(list);
}

module.exports = { clientOptions, derivedOptions };
