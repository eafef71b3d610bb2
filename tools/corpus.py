#!/usr/bin/env python3
"""Converts a fuzz corpus between its form in the repository (one line of escaped bytes per input) and that of
libFuzzer (one file per input): corpus.py unpack FILE FOLDER, corpus.py pack FOLDER FILE."""

import ast
import pathlib
import sys


def unpack(file, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for number, line in enumerate(file.read_text().splitlines()):
        (folder / f"{number:05}").write_bytes(ast.literal_eval('b"' + line + '"'))


def pack(folder, file):
    inputs = {path.read_bytes() for path in folder.iterdir()}
    # The leading quote makes repr() choose the same quotes for every input.
    lines = sorted(repr(b'"' + i)[3:-1].replace("\\'", "'").replace('"', '\\"') for i in inputs)
    file.write_text("".join(line + "\n" for line in lines))


if __name__ == "__main__":
    do, source, target = sys.argv[1:]
    {"unpack": unpack, "pack": pack}[do](pathlib.Path(source), pathlib.Path(target))
