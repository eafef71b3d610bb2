"use strict";

// Commands as bytes. V8 compiles the loops over short texts to code that is faster than a call of Buffer's functions,
// which are written in C++.
const SHORT = 48;
const DOLLAR = 36;
const ZERO = 48;
const CR = 13;
const LF = 10;
// The bytes around an argument: "$", its length, and two line ends.
const FRAME = 16;

/** Makes each argument a string or a Uint8Array, and returns them as one flat array, which may be the argument. */
function normalize(args, name) {
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    if (typeof arg === "string" || arg instanceof Uint8Array) continue;
    if (typeof arg === "number" || typeof arg === "bigint" || typeof arg === "boolean") args[i] = String(arg);
    else return normalize(flatten(args, name), name);
  }
  return args;
}

function flatten(args, name) {
  const flat = [];
  for (const arg of args) {
    if (Array.isArray(arg)) flat.push(...flatten(arg, name));
    else flat.push(single(arg, name));
  }
  return flat;
}

function single(arg, name) {
  if (ArrayBuffer.isView(arg)) return Buffer.from(arg.buffer, arg.byteOffset, arg.byteLength);
  if (arg instanceof ArrayBuffer) return Buffer.from(arg);
  if (typeof arg === "object" || typeof arg === "function" || typeof arg === "symbol" || arg === undefined) {
    const type = arg === null ? "null" : typeof arg === "object" ? (arg.constructor?.name ?? "object") : typeof arg;
    throw new TypeError(
      `an argument of ${name} is of type ${type}: pass a string, a Buffer, a number or an array of these`,
    );
  }
  return arg;
}

/** At least as many bytes as the normalized arguments need. */
function sizeLimit(args) {
  let size = 0;
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    // A UTF-16 unit has at most three bytes in UTF-8.
    if (typeof arg !== "string" || arg.length <= 1024) size += FRAME + arg.length * (typeof arg === "string" ? 3 : 1);
    else size += FRAME + Buffer.byteLength(arg);
  }
  return size;
}

function writeDigits(bytes, at, number) {
  if (number < 10) {
    bytes[at] = ZERO + number;
    return at + 1;
  }
  if (number < 100) {
    bytes[at] = ZERO + ((number / 10) | 0);
    bytes[at + 1] = ZERO + (number % 10);
    return at + 2;
  }
  const digits = String(number);
  for (let i = 0; i < digits.length; i++) bytes[at + i] = digits.charCodeAt(i);
  return at + digits.length;
}

function writeLength(bytes, at, length) {
  bytes[at] = DOLLAR;
  at = writeDigits(bytes, at + 1, length);
  bytes[at] = CR;
  bytes[at + 1] = LF;
  return at + 2;
}

function writeString(bytes, at, text) {
  const length = text.length;
  if (length <= SHORT) {
    const start = writeLength(bytes, at, length);
    let i = 0;
    for (; i < length; i++) {
      const unit = text.charCodeAt(i);
      if (unit > 127) break;
      bytes[start + i] = unit;
    }
    if (i === length) return start + length;
  }
  const size = Buffer.byteLength(text);
  const start = writeLength(bytes, at, size);
  bytes.write(text, start, size, size === length ? "latin1" : "utf8");
  return start + size;
}

function writeBytes(bytes, at, arg) {
  const start = writeLength(bytes, at, arg.length);
  bytes.set(arg, start);
  return start + arg.length;
}

/** Writes a command whose size is within its limit: the head, and the normalized arguments. Returns where it ends. */
function writeCommand(bytes, at, head, args) {
  for (let i = 0; i < head.length; i++) bytes[at + i] = head[i];
  at += head.length;
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    at = typeof arg === "string" ? writeString(bytes, at, arg) : writeBytes(bytes, at, arg);
    bytes[at] = CR;
    bytes[at + 1] = LF;
    at += 2;
  }
  return at;
}

/** The beginning of an encoded command: the number of its words, and its name. */
function headOf(name, count) {
  return Buffer.from(`*${count + 1}\r\n$${Buffer.byteLength(name)}\r\n${name}\r\n`);
}

module.exports = { headOf, normalize, sizeLimit, writeCommand };
