"use strict";

/**
 * The base class of all errors of the servers and of the library. `code` is the name of the error ("TIMEOUT",
 * "READONLY" ...), or the server's error code ("WRONGTYPE"). `sent` is false if the command certainly did not run, so
 * that sending it again is safe. `node` is the "host:port" that the error is about, or null.
 */
class RedisError extends Error {
  constructor(message, { code = "ERR", sent = false, node = null, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.sent = sent;
    this.node = node;
  }

  get name() {
    return this.constructor.name;
  }
}

/** The server replied with an error. */
class ReplyError extends RedisError {}
/** The server refused the credentials, or the user lacks a permission. */
class AuthenticationError extends ReplyError {}
/** CLUSTERDOWN, or no node serves the slot. */
class ClusterDownError extends ReplyError {}

/** A bad argument, option or URL; nothing was sent. */
class InvalidError extends RedisError {}
/** The keys are in different slots; nothing was sent. */
class CrossSlotError extends RedisError {}
/** A write through a client that only reads; nothing was sent. */
class ReadonlyError extends RedisError {}
/** The client was closed. */
class ClosedError extends RedisError {}
/** More commands were in flight than `queue_limit` allows; nothing was sent. */
class QueueFullError extends RedisError {}

/** The connection broke. */
class ConnectionError extends RedisError {}
/** No node could be reached; nothing was sent. */
class CannotConnectError extends ConnectionError {}
/** The client or the node rejected a certificate, or the TLS session failed. */
class TLSError extends ConnectionError {}
/** The time limit of the command passed. */
class TimeoutError extends ConnectionError {}

/** The peer sent something other than RESP, or a reply exceeded a limit. */
class ProtocolError extends RedisError {}
/** More than max_redirects redirections. */
class RedirectsError extends RedisError {}
/** The command was interrupted. */
class InterruptedError extends RedisError {}
/** A bug in the library, caught at its interface. */
class InternalError extends RedisError {}

/** The command's AbortSignal was aborted. `cause` is the signal's reason. */
class AbortError extends InterruptedError {}

/** The codes RDC_ERR_... of rediscluster.h. An unknown code, from a later library, is a RedisError. */
const CLASSES = {
  SERVER: ReplyError,
  INVALID: InvalidError,
  CONNECT: CannotConnectError,
  IO: ConnectionError,
  TIMEOUT: TimeoutError,
  PROTOCOL: ProtocolError,
  AUTH: AuthenticationError,
  DOWN: ClusterDownError,
  CROSSSLOT: CrossSlotError,
  REDIRECTS: RedirectsError,
  READONLY: ReadonlyError,
  INTERRUPTED: InterruptedError,
  INTERNAL: InternalError,
  CLOSED: ClosedError,
  TLS: TLSError,
  QUEUE_FULL: QueueFullError,
};

// In a pipeline, the name of the command precedes the message.
const PIPELINE_PREFIX = /^Command # \d+ \(.*?\) of pipeline: /s;

// What the library says about an error of a subscriber: rdc_reply_int().
const MARK = Symbol("mark");
/** The mark of the error that says that a server refuses a channel for good. */
const GIVEN_UP = 2;

/** The error for an error reply. The addon calls it. */
function makeError(name, message, sent, node, mark = 0) {
  const kind = CLASSES[name] ?? RedisError;
  const code = name === "SERVER" ? message.replace(PIPELINE_PREFIX, "").split(" ", 1)[0] : name;
  const error = new kind(message, { code, sent, node });
  if (mark !== 0) Object.defineProperty(error, MARK, { value: mark });
  return error;
}

/** The error for a message that begins with the name of its code. */
function errorFromMessage(message) {
  return makeError(message.split(" ", 1)[0], message, false, null);
}

/** The error of a command whose signal was aborted. `error` is what the library said about the command. */
function abortError(signal, error) {
  const { sent = false, node = null } = error ?? {};
  const did = sent ? "the command was sent and may have run" : "the command did not run";
  return new AbortError(`The operation was aborted: ${did}`, { code: "ABORT_ERR", sent, node, cause: signal.reason });
}

const invalid = (message) => new InvalidError(`INVALID ${message}`, { code: "INVALID" });
const closed = () => new ClosedError("CLOSED the client was closed; nothing was sent", { code: "CLOSED" });

module.exports = {
  classes: {
    RedisError,
    ReplyError,
    AuthenticationError,
    ClusterDownError,
    InvalidError,
    CrossSlotError,
    ReadonlyError,
    ClosedError,
    QueueFullError,
    ConnectionError,
    CannotConnectError,
    TLSError,
    TimeoutError,
    ProtocolError,
    RedirectsError,
    InterruptedError,
    InternalError,
    AbortError,
  },
  CLASSES,
  abortError,
  closed,
  errorFromMessage,
  invalid,
  GIVEN_UP,
  MARK,
  makeError,
};
