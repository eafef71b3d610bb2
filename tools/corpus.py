#!/usr/bin/env python3
"""Corpora between the form in which they are kept (a line of escaped bytes for each input) and the one that
libFuzzer takes (a file for each): corpus.py unpack FILE FOLDER, corpus.py pack FOLDER FILE."""

import ast
import pathlib
import sys


def unpack(file, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for number, line in enumerate(file.read_text().splitlines()):
        (folder / f"{number:05}").write_bytes(ast.literal_eval('b"' + line + '"'))


def pack(folder, file):
    inputs = {path.read_bytes() for path in folder.iterdir()}
    # repr() would choose the quotes by what is inside.
    lines = sorted(repr(b'"' + i)[3:-1].replace("\\'", "'").replace('"', '\\"') for i in inputs)
    file.write_text("".join(line + "\n" for line in lines))


if __name__ == "__main__":
    do, source, target = sys.argv[1:]
    {"unpack": unpack, "pack": pack}[do](pathlib.Path(source), pathlib.Path(target))
