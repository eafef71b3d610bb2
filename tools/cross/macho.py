#!/usr/bin/env python3
"""Says what a shared library or bundle for macOS is, one fact a line: its processor, its own name, the oldest macOS that it runs
on, the libraries that it needs, and the symbols that it exports.

    macho.py FILE
"""

import struct
import sys

PROCESSORS = {0x01000007: "x86_64", 0x0100000C: "arm64"}
MH_DYLIB, MH_BUNDLE = 6, 8
LC_SYMTAB, LC_LOAD_DYLIB, LC_ID_DYLIB, LC_CODE_SIGNATURE, LC_BUILD_VERSION = 0x2, 0xC, 0xD, 0x1D, 0x32
N_EXT, N_TYPE, N_SECT = 0x01, 0x0E, 0x0E


def text(data, at):
    return data[at : data.index(b"\0", at)].decode()


def exported(data, table, count, strings):
    for number in range(count):
        name, kind, *_ = struct.unpack_from("<IBBHQ", data, table + 16 * number)
        if kind & N_EXT and kind & N_TYPE == N_SECT:
            yield text(data, strings + name)


def main(path):
    data = open(path, "rb").read()
    magic, processor, _, kind, commands = struct.unpack_from("<5I", data)
    if magic != 0xFEEDFACF or kind not in (MH_DYLIB, MH_BUNDLE):
        sys.exit(f"macho.py: {path} is no shared library or bundle of 64 bits")
    print("processor", PROCESSORS.get(processor, hex(processor)))
    at = 32
    for _ in range(commands):
        command, size = struct.unpack_from("<2I", data, at)
        if command in (LC_ID_DYLIB, LC_LOAD_DYLIB):
            print("name" if command == LC_ID_DYLIB else "needs", text(data, at + struct.unpack_from("<I", data, at + 8)[0]))
        elif command == LC_BUILD_VERSION:
            version = struct.unpack_from("<I", data, at + 12)[0]
            print(f"macos {version >> 16}.{version >> 8 & 255}")
        elif command == LC_CODE_SIGNATURE:
            print("signed")
        elif command == LC_SYMTAB:
            table, count, strings, _ = struct.unpack_from("<4I", data, at + 8)
            for name in sorted(exported(data, table, count, strings)):
                print("exports", name)
        at += size


main(*sys.argv[1:])
