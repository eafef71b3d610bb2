"""Conversions between Python values and the C interface: arguments to RESP, replies to objects."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Optional

from . import _native
from ._load_extension import extension
from ._native import ffi, lib
from .exceptions import DataError, error

# Decodes the bytes of a text; None returns bytes.
Decode = Optional[Callable[[bytes], Any]]

_new, _unpack = ffi.new, ffi.unpack

_BYTES = frozenset((_native.RDC_STRING, _native.RDC_STATUS, _native.RDC_VERBATIM))
_TEXTS = _BYTES | {_native.RDC_DOUBLE, _native.RDC_BIGNUM, _native.RDC_ERROR}
_LISTS = frozenset((_native.RDC_ARRAY, _native.RDC_PUSH))
_PLAIN = frozenset((_native.RDC_INTEGER, _native.RDC_NIL, _native.RDC_BOOL))


def text_decoder(encoding: str, errors: str) -> Callable[[bytes], str]:
    """The function that decodes texts to strings."""
    if encoding.lower() in ("utf-8", "utf8") and errors == "strict":
        return bytes.decode  # the defaults, without a Python call
    return lambda data: data.decode(encoding, errors)


# ---- Arguments -----------------------------------------------------------------------------------


def bad_argument(value: object) -> DataError:
    return DataError(
        f"Invalid input of type: '{type(value).__name__}'. "
        "Convert to a bytes, string, int or float first."
    )


def argument(value: Any, encoding: str, errors: str) -> bytes:
    """One argument as bytes, by the rules of redis-py."""
    if isinstance(value, str):
        return value.encode(encoding, errors)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, bool):
        raise bad_argument(value)
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, float):
        return repr(value).encode()
    raise bad_argument(value)


def _split_name(name: Any) -> list[bytes]:
    """redis-py passes "CONFIG GET" as one argument; in RESP these are two. The encoding of the client is
    that of keys and values: servers know the names in ASCII."""
    return argument(name, "utf-8", "strict").split()


# Templates have up to this many arguments. Further arguments are appended one by one, so that the
# number of templates is limited.
_MAX_TEMPLATE = 16


@lru_cache(maxsize=1024)
def _template(name: Any, count: int) -> bytes:
    """A command of ``count`` arguments as RESP, with placeholders for their lengths and bytes."""
    parts = _split_name(name)
    head = b"*%d\r\n" % (count - 1 + len(parts))
    head += b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in parts)
    return head.replace(b"%", b"%%") + b"$%d\r\n%b\r\n" * (min(count, _MAX_TEMPLATE) - 1)


def encode(args: tuple[Any, ...], encoding: str, errors: str) -> bytes:
    """A command as RESP."""
    count = len(args)
    if count == 2:  # the most frequent case
        name, value = args
        kind = type(value)
        if kind is str:
            value = value.encode(encoding, errors)
        elif kind is not bytes:
            value = argument(value, encoding, errors)
        return _template(name, 2) % (len(value), value)
    flat: list[Any] = []
    for value in args[1:]:
        kind = type(value)
        if kind is str:
            value = value.encode(encoding, errors)
        elif kind is not bytes:
            value = argument(value, encoding, errors)
        flat.append(len(value))
        flat.append(value)
    if count <= _MAX_TEMPLATE:
        return _template(args[0], count) % tuple(flat)
    head = _template(args[0], count) % tuple(flat[: 2 * _MAX_TEMPLATE - 2])
    rest = flat[2 * _MAX_TEMPLATE - 2 :]
    return head + b"".join(map(b"$%d\r\n%b\r\n".__mod__, zip(rest[::2], rest[1::2])))


def arguments(args: tuple[Any, ...], encoding: str, errors: str) -> tuple[int, Any, Any, Any]:
    """A command as argc, argv and lens, and the objects that must outlive them."""
    data = _split_name(args[0])
    data += [argument(value, encoding, errors) for value in args[1:]]
    alive = [ffi.from_buffer("char[]", value) for value in data]
    return len(data), _new("const char *[]", alive), _new("size_t[]", [len(d) for d in data]), alive


# ---- Replies -------------------------------------------------------------------------------------

# Out-parameters for reuse. A list's pop and append are atomic, and a signal handler that reads a
# reply between the two uses another pair.
_free_pairs: list[tuple[Any, Any]] = []


def read(reply: Any, decode: Decode) -> Any:
    """The value of a reply. An error is returned and not raised: it may be an element."""
    if extension is not None:
        return extension.read(int(ffi.cast("uintptr_t", reply)), decode)
    try:
        pair = _free_pairs.pop()
    except IndexError:
        pair = (_new("const char *[1]"), _new("int64_t[1]"))
    strs, nums = pair
    kind = lib.rdc_reply_read(reply, strs, nums)
    at, number = strs[0], nums[0]
    _free_pairs.append(pair)
    return _value(reply, kind, at, number, decode)


def _value(reply: Any, kind: int, at: Any, number: int, decode: Decode) -> Any:
    if kind in _BYTES:
        data = _unpack(at, number)
        return data if decode is None else decode(data)
    if kind == _native.RDC_INTEGER:
        return number
    if kind == _native.RDC_NIL:
        return None
    if kind in _LISTS:
        return elements(reply, number, decode)
    if kind == _native.RDC_ERROR:
        message = _unpack(at, number).decode("utf-8", "replace")
        return error(_code(reply), message, lib.rdc_reply_sent(reply) != 0, node(reply))
    if kind == _native.RDC_MAP:
        flat = elements(reply, number, decode)
        pairs = list(zip(flat[::2], flat[1::2]))
        return _hashed(dict, pairs)
    if kind == _native.RDC_SET:
        return _hashed(set, elements(reply, number, decode))
    if kind == _native.RDC_DOUBLE:
        return _double(_unpack(at, number))
    if kind == _native.RDC_BOOL:
        return bool(number)
    if kind == _native.RDC_BIGNUM:
        return int(_unpack(at, number))
    # An unknown kind, of a later library: its text if it has one, else its elements.
    return elements(reply, number, decode) if at == ffi.NULL else _unpack(at, number)


def _hashed(kind: type, members: list[Any]) -> Any:
    """A set or a dict; or the list, if a member or a key is an aggregate, which has no hash."""
    try:
        return kind(members)
    except TypeError:
        return members


def _double(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:  # "nan(0x7)", of the C library of the server
        return math.nan


def elements(reply: Any, count: int, decode: Decode) -> list[Any]:
    """The elements of an aggregate reply. All scalar elements are read in one call."""
    if count == 0:
        return []
    kinds, strs, nums = (
        _new("int32_t[]", count),
        _new("const char *[]", count),
        _new("int64_t[]", count),
    )
    lib.rdc_reply_read_array(reply, 0, count, kinds, strs, nums)
    kind_of, at, number = _unpack(kinds, count), _unpack(strs, count), _unpack(nums, count)
    if kind_of.count(_native.RDC_STRING) == count:
        data = map(_unpack, at, number)
        return list(data if decode is None else map(decode, data))
    values: list[Any] = []
    for i, kind in enumerate(kind_of):
        if kind in _TEXTS or kind in _PLAIN:
            # Of the scalar kinds, only an error needs its reply.
            inner = lib.rdc_reply_at(reply, i) if kind == _native.RDC_ERROR else None
        else:
            inner = lib.rdc_reply_at(reply, i)
        values.append(_value(inner, kind, at[i], number[i], decode))
    return values


def pairs(response: Any) -> dict[Any, Any]:
    """The dict of an array of keys and values: redis-py's callback of HGETALL. The C extension makes
    such a dict without the array."""
    return dict(zip(response[::2], response[1::2])) if response else {}


def per_node(reply: Any, decode: Decode) -> Any:
    """The replies of several nodes as a dict by node, or an exception."""
    if lib.rdc_reply_type(reply) != _native.RDC_MAP:
        return read(reply, decode)
    values: dict[str, Any] = {}
    for i in range(0, lib.rdc_reply_len(reply), 2):
        name = ffi.string(lib.rdc_reply_str(lib.rdc_reply_at(reply, i))).decode()
        value = read(lib.rdc_reply_at(reply, i + 1), decode)
        if isinstance(value, Exception):
            value.node = name  # type: ignore[attr-defined]
        values[name] = value
    return values


def one_node(reply: Any, decode: Decode) -> dict[str | None, Any]:
    """The reply of one node as such a dict. An exception is a value of it."""
    return {node(reply): read(reply, decode)}


def elements_by_decoder(reply: Any, decoders: Iterable[Decode]) -> list[Any]:
    """The elements of a reply, each with its own decoder. An element that cannot be decoded becomes
    the exception, so that the others are not lost."""
    return [_read_or_error(lib.rdc_reply_at(reply, i), each) for i, each in enumerate(decoders)]


def _read_or_error(reply: Any, decode: Decode) -> Any:
    try:
        return read(reply, decode)
    except Exception as exception:
        return exception


def node(reply: Any) -> str | None:
    """The node that sent a reply, or that an error concerns."""
    name = lib.rdc_reply_node(reply)
    if name == ffi.NULL:
        return None
    found: bytes = ffi.string(name)
    return found.decode()


def _code(reply: Any) -> str:
    name: bytes = ffi.string(lib.rdc_error_name(lib.rdc_reply_error(reply)))
    return name.decode()
