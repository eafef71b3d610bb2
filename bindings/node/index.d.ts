/// <reference types="node" />
import { EventEmitter } from "node:events";
import { Readable } from "node:stream";
import { Commands } from "./commands";

export type Key = string | Buffer | Uint8Array | number;
export type Value = string | Buffer | Uint8Array | ArrayBufferView | ArrayBuffer | number | bigint | boolean;
/** An argument of a command. Arrays are flattened; objects and maps are for MSET, MSETNX, HSET and HMSET. */
export type Argument = Value | readonly Argument[] | Map<Value, Value> | { readonly [field: string]: Value };

export type Callback<T> = (error: RedisError | null, result?: T) => void;
export interface CommandOptions {
  /** Gives up the command when it is aborted: the promise rejects with an AbortError. */
  signal: AbortSignal;
}
/** What may follow the arguments of a command. */
export type Tail<T> =
  [options?: CommandOptions] | [callback: Callback<T>] | [options: CommandOptions, callback: Callback<T>];
export type Rest<T> = Argument | CommandOptions | Callback<T>;
export type Result<Mode extends "client" | "pipeline", T> = Mode extends "pipeline" ? Pipeline : Promise<T>;

export interface ScriptDefinition {
  lua: string;
  /** Without it, the first argument of each call is the number of keys. */
  numberOfKeys?: number;
  /** Uses EVALSHA_RO, which replicas may run. */
  readOnly?: boolean;
}

/** A node: { host, port }, a port of 127.0.0.1, "host:port", or a URL. */
export type ClusterNode =
  | { host?: string; port?: number | string; username?: string; password?: string; tls?: boolean | TlsOptions }
  | number
  | string;

export interface TlsOptions {
  servername?: string;
  rejectUnauthorized?: boolean;
}

/** Options of ioredis that belong to redisOptions there. Here they may also stand beside the others. */
export interface RedisOptions {
  username?: string;
  password?: string;
  db?: number;
  connectTimeout?: number;
  commandTimeout?: number;
  socketTimeout?: number;
  keepAlive?: number;
  connectionName?: string;
  lazyConnect?: boolean;
  stringNumbers?: boolean;
  protocol?: 2 | 3;
  replyMapping?: "legacy" | "resp3";
  tls?: boolean | TlsOptions;
  scripts?: Record<string, ScriptDefinition>;
  // Accepted, without effect: the library does these things by itself.
  autoPipeliningIgnoredCommands?: string[];
  autoResendUnfulfilledCommands?: boolean;
  autoResubscribe?: boolean;
  clientInfoTag?: string;
  disableClientInfo?: boolean;
  enableAutoPipelining?: boolean;
  enableReadyCheck?: boolean;
  maxLoadingRetryTime?: number;
  maxRetriesPerRequest?: number | null;
  noDelay?: boolean;
  showFriendlyErrorStack?: boolean;
}

/** The options of the library that with() may change: CONFIGURATION.md describes them. */
export interface HandleOptions {
  timeout_ms?: number;
  attempt_timeout_ms?: number;
  readonly?: boolean;
  read_from?: "primary" | "any" | "replica" | "nearest" | "zone";
  zone?: string;
  max_staleness_ms?: number;
  read_your_writes?: boolean;
  monotonic?: boolean;
  nil?: "accept" | "verify";
  max_redirects?: number;
  retry_writes?: boolean;
  split_writes?: boolean;
  trust_module_flags?: boolean;
  database?: number;
  subscriber_ping_ms?: number;
  spread_channels?: boolean;
}

/** The options of the library: CONFIGURATION.md describes them. */
export interface LibraryOptions extends HandleOptions {
  connect_timeout_ms?: number;
  lazy?: boolean;
  connections_per_node?: number;
  queue_limit?: number;
  user?: string;
  password?: string;
  user_file?: string;
  password_file?: string;
  client_name?: string;
  cluster?: "auto" | "yes" | "no";
  address_map?: string;
  allowed_hosts?: string;
  max_reply_bytes?: number;
  max_reply_elements?: number;
  max_reply_depth?: number;
  max_nodes?: number;
  max_memory_bytes?: number;
  keepalive_ms?: number;
  tls_ca_file?: string;
  tls_cert_file?: string;
  tls_key_file?: string;
  tls_server_name?: string;
  tls_insecure_skip_verify?: boolean;
}

export interface ClusterOptions extends RedisOptions, LibraryOptions {
  scaleReads?: "master" | "slave" | "all";
  maxRedirections?: number;
  natMap?: Record<string, { host: string; port: number }>;
  redisOptions?: RedisOptions;
  // Accepted, without effect: the library chooses these times by itself.
  retryDelayOnClusterDown?: number;
  retryDelayOnFailover?: number;
  retryDelayOnMoved?: number;
  retryDelayOnTryAgain?: number;
  shardedSubscribers?: boolean;
  slotsRefreshInterval?: number;
  slotsRefreshTimeout?: number;
}

/** Messages of a channel or a pattern may have been missed until now. */
export interface Gap {
  kind: "message" | "pmessage" | "smessage";
  /** null if it is about a pattern. */
  channel: string | null;
  /** null if it is about a channel. */
  pattern: string | null;
  reason: string;
  /** "host:port" of the node that the channel is on now. */
  node: string | null;
}

/** The listeners of a client, by event. */
export interface ClusterEvents {
  connect: [];
  ready: [];
  close: [];
  end: [];
  error: [error: RedisError];
  message: [channel: string, message: string];
  messageBuffer: [channel: Buffer, message: Buffer];
  pmessage: [pattern: string, channel: string, message: string];
  pmessageBuffer: [pattern: string, channel: Buffer, message: Buffer];
  smessage: [channel: string, message: string];
  smessageBuffer: [channel: Buffer, message: Buffer];
  gap: [gap: Gap];
}

/** Channels, or arrays of them, and perhaps a callback. */
export type Channels = (Key | readonly Key[] | Callback<number>)[];

export interface ScanOptions {
  match?: string | Buffer;
  count?: number;
  highWaterMark?: number;
}

/** A stream of arrays: for await (const keys of cluster.scanStream()). */
export interface ScanStream<T> extends Readable {
  close(): void;
  [Symbol.asyncIterator](): NodeJS.AsyncIterator<T[]>;
}

export type PipelineResult = [error: RedisError | null, result: unknown];

/** Methods that defineCommand() has added are not typed: declare them, or use call(). */
interface Call<Mode extends "client" | "pipeline"> {
  /** Any command. Its arguments and its reply are not converted as those of its method may be. */
  call(name: string, ...args: Rest<unknown>[]): Result<Mode, unknown>;
  callBuffer(name: string, ...args: Rest<unknown>[]): Result<Mode, unknown>;
}

export interface Pipeline extends Commands<"pipeline">, Call<"pipeline"> {
  /** The number of commands. */
  readonly length: number;
  /**
   * Sends the commands, and resolves to [error, result] of each, in order. null only for a transaction of a pinned
   * client: a watched key was changed, and nothing ran.
   */
  exec(...tail: Tail<PipelineResult[] | null>): Promise<PipelineResult[] | null>;
}

/** The methods of clients and nodes that return the replies of SCAN and its relatives as streams. */
interface ScanStreams {
  scanStream(options?: ScanOptions & { type?: string }): ScanStream<string>;
  scanBufferStream(options?: ScanOptions & { type?: string }): ScanStream<Buffer>;
  hscanStream(key: Key, options?: ScanOptions & { noValues?: boolean }): ScanStream<string>;
  hscanBufferStream(key: Key, options?: ScanOptions & { noValues?: boolean }): ScanStream<Buffer>;
  sscanStream(key: Key, options?: ScanOptions): ScanStream<string>;
  sscanBufferStream(key: Key, options?: ScanOptions): ScanStream<Buffer>;
  zscanStream(key: Key, options?: ScanOptions): ScanStream<string>;
  zscanBufferStream(key: Key, options?: ScanOptions): ScanStream<Buffer>;
}

/** A node of the cluster. Its methods run commands there; it uses the client's connections. */
export interface Node extends Commands<"client">, Call<"client">, ScanStreams {
  /** `path` of a unix socket, otherwise `host` and `port`. */
  readonly options: { readonly host?: string; readonly port?: number; readonly path?: string };
}

export interface Cluster extends Commands<"client">, Call<"client">, ScanStreams {}

/** A client of a Redis or Valkey cluster, or of a single server. */
export class Cluster extends EventEmitter {
  constructor(nodes: string | readonly ClusterNode[], options?: ClusterOptions);

  readonly status: "wait" | "connecting" | "ready" | "end";
  /** The number of commands in flight. */
  readonly inFlight: number;

  /** Waits until a server has answered. */
  connect(): Promise<void>;
  pipeline(commands?: readonly (readonly [name: string, ...args: Argument[]])[]): Pipeline;
  /** A pipeline that runs as MULTI and EXEC. All keys must be in one slot. */
  multi(commands?: readonly (readonly [name: string, ...args: Argument[]])[]): Pipeline;
  defineCommand(name: string, definition: ScriptDefinition): void;

  /** Another client of the same cluster with some options changed. */
  with(options: HandleOptions): Cluster;
  /** Another client that reads from primaries and replicas, and refuses writes. */
  readonly(): Cluster;

  /** Another client with one dedicated connection, to the primary of this key, for WATCH. */
  pin(key: string | Buffer): Cluster;

  /** A new client with the same options, except for those that are passed. It has connections of its own. */
  duplicate(nodes?: string | readonly ClusterNode[], options?: ClusterOptions): Cluster;

  /** Waits for the commands in flight, and closes the client. */
  quit(callback?: Callback<"OK">): Promise<"OK">;
  /** Closes the client at once. Commands in flight fail with a ClosedError. */
  disconnect(): void;
  [Symbol.asyncDispose](): Promise<void>;

  /**
   * Runs any command at the nodes that `where` selects: "host:port", "slot:N", "key:K" or "random"; or "all",
   * "primaries" or "replicas", whose result is an object of each node's result, or its error, by its name.
   */
  callTo(where: string, name: string, ...args: Rest<unknown>[]): Promise<unknown>;
  callToBuffer(where: string, name: string, ...args: Rest<unknown>[]): Promise<unknown>;
  /** The nodes that the client knows. Before it has connected, there are none. */
  nodes(role?: "all" | "master" | "slave"): Node[];

  /** Replaces the credentials of all clients of the cluster. */
  setCredentials(user: string | null, password: string | null): void;
  /** The cluster as the client knows it: an array of shards. */
  topology(): Record<string, unknown>[];
  /** The counters of STATISTICS.md by name. */
  stats(): Record<string, unknown>;
  /** How a command would be routed, without running it. */
  explain(...words: (string | Buffer | number)[]): Record<string, unknown>;

  /** The slot of a key, 0 to 16383. */
  static keySlot(key: string | Buffer): number;

  /**
   * Subscribes to channels. Resolves, when all are confirmed, to the number of subscribed channels and patterns.
   * Rejects if they are not within timeout_ms, or if no node can be reached; what it began is not subscribed then.
   * Messages are events: "message", "pmessage" and "smessage". Other commands may be used on the same client.
   */
  subscribe(...channels: Channels): Promise<number>;
  psubscribe(...patterns: Channels): Promise<number>;
  /** Sharded channels, of any slots. */
  ssubscribe(...channels: Channels): Promise<number>;
  /** Without channels, ends the subscriptions to all of them. */
  unsubscribe(...channels: Channels): Promise<number>;
  punsubscribe(...patterns: Channels): Promise<number>;
  sunsubscribe(...channels: Channels): Promise<number>;

  on<E extends keyof ClusterEvents>(event: E, listener: (...args: ClusterEvents[E]) => void): this;
  once<E extends keyof ClusterEvents>(event: E, listener: (...args: ClusterEvents[E]) => void): this;
  off<E extends keyof ClusterEvents>(event: E, listener: (...args: ClusterEvents[E]) => void): this;
}

/** The version of librediscluster that the addon contains. */
export const libraryVersion: string;

/** The base class of all errors of the servers and of the library. */
export class RedisError extends Error {
  /** The name of the error, such as "TIMEOUT", or the server's error code, such as "WRONGTYPE". */
  readonly code: string;
  /** false: the command did not run, so sending it again is safe. true: it ran or may have run. */
  readonly sent: boolean;
  /** "host:port" of the node that the error is about, or null. */
  readonly node: string | null;
}
export class ReplyError extends RedisError {}
export class AuthenticationError extends ReplyError {}
export class ClusterDownError extends ReplyError {}
export class InvalidError extends RedisError {}
export class CrossSlotError extends RedisError {}
export class ReadonlyError extends RedisError {}
export class ClosedError extends RedisError {}
export class QueueFullError extends RedisError {}
export class ConnectionError extends RedisError {}
export class CannotConnectError extends ConnectionError {}
export class TLSError extends ConnectionError {}
export class TimeoutError extends ConnectionError {}
export class ProtocolError extends RedisError {}
export class RedirectsError extends RedisError {}
export class InterruptedError extends RedisError {}
export class InternalError extends RedisError {}
/** The command's AbortSignal was aborted. `cause` is the signal's reason. */
export class AbortError extends InterruptedError {
  readonly cause: unknown;
}
