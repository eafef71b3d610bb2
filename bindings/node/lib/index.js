"use strict";

// Assignments of this form are what lets a module import the names: import { Cluster } from "rediscluster".
const { classes } = require("./errors");

exports.Cluster = require("./cluster").Cluster;
/** The version of librediscluster that the addon contains. */
exports.libraryVersion = require("./native").version;

exports.RedisError = classes.RedisError;
exports.ReplyError = classes.ReplyError;
exports.AuthenticationError = classes.AuthenticationError;
exports.ClusterDownError = classes.ClusterDownError;
exports.InvalidError = classes.InvalidError;
exports.CrossSlotError = classes.CrossSlotError;
exports.ReadonlyError = classes.ReadonlyError;
exports.ClosedError = classes.ClosedError;
exports.QueueFullError = classes.QueueFullError;
exports.ConnectionError = classes.ConnectionError;
exports.CannotConnectError = classes.CannotConnectError;
exports.TLSError = classes.TLSError;
exports.TimeoutError = classes.TimeoutError;
exports.ProtocolError = classes.ProtocolError;
exports.RedirectsError = classes.RedirectsError;
exports.InterruptedError = classes.InterruptedError;
exports.InternalError = classes.InternalError;
exports.AbortError = classes.AbortError;
