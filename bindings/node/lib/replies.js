"use strict";

/** Adds elements to an array. One call for many costs half of what setting each by Node-API does. */
function append(array, ...elements) {
  for (let i = 0; i < elements.length; i++) array.push(elements[i]);
}

/** An object of keys and values by turns. Its keys are strings. */
function toObject(pairs) {
  const object = {};
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    const key = String(pairs[i]);
    // An assignment would change the prototype instead.
    if (key === "__proto__") {
      Object.defineProperty(object, key, {
        value: pairs[i + 1],
        configurable: true,
        enumerable: true,
        writable: true,
      });
    } else {
      object[key] = pairs[i + 1];
    }
  }
  return object;
}

/** What the methods of commands do with replies, as ioredis does. RESP2 sends maps as arrays. */
const transformers = {
  HGETALL: (reply) => (Array.isArray(reply) ? toObject(reply) : reply),
};

function pairsOf(value) {
  if (value instanceof Map) return [...value].flat();
  const isRecord = typeof value === "object" && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value);
  return isRecord ? Object.entries(value).flat() : null;
}

const pairs = (args) => {
  const flat = args.length === 1 ? pairsOf(args[0]) : null;
  return flat ?? args;
};
const keyAndPairs = (args) => {
  const flat = args.length === 2 ? pairsOf(args[1]) : null;
  return flat ? [args[0], ...flat] : args;
};

/** Objects and maps among the arguments, as ioredis takes them. */
const argumentTransformers = { MSET: pairs, MSETNX: pairs, HSET: keyAndPairs, HMSET: keyAndPairs };

/** A reply that was read as Buffers, as strings. */
function toStrings(value) {
  if (Buffer.isBuffer(value)) return value.toString();
  if (Array.isArray(value)) return value.map(toStrings);
  if (value !== null && typeof value === "object" && Object.getPrototypeOf(value) === Object.prototype) {
    return toObject(Object.entries(value).flatMap(([key, element]) => [key, toStrings(element)]));
  }
  return value;
}

module.exports = { append, argumentTransformers, toObject, toStrings, transformers };
