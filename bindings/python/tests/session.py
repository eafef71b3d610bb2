"""Runs the sessions of the files named, in the cluster on ports 7000 to 7005 that `cluster run`
started: what test_session.py does, and what anybody can do by hand."""

from __future__ import annotations

import doctest
import re
import sys
from pathlib import Path

from conftest import control


class Checker(doctest.OutputChecker):
    """Python 2's u'' is '', what a page does not show may be anything, and a pipeline that shows
    itself while it is filled is not shown."""

    def check_output(self, want: str, got: str, flags: int) -> bool:
        if not want:
            return True
        want = re.sub(r"\bu(?=')", "", want)
        got = re.sub(r"^<rediscluster\.pipeline\.ClusterPipeline.*>\n", "", got, flags=re.M)
        return super().check_output(want, got, flags)


class Runner(doctest.DocTestRunner):
    def report_start(self, out, test, example) -> None:
        # What was just written is on the replicas before a replica is asked.
        if "readonly" in example.source:
            control("wait-sync")


def run(path: Path) -> doctest.TestResults:
    text = path.read_text()
    test = doctest.DocTestParser().get_doctest(text, {}, path.name, str(path), 0)
    lines = text.split("\n")
    for example in test.examples:
        if ">>> # NO" in lines[example.lineno - 1]:
            # Not empty, or an example that raises nothing would do as well.
            example.want = "Traceback (most recent call last):\n"
            example.exc_msg = "redis.exceptions.ReadOnlyError:\n"
            example.options = {doctest.IGNORE_EXCEPTION_DETAIL: True}
    return Runner(Checker(), verbose=False).run(test)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        results = run(Path(name))
        print(f"{Path(name).name}: {results.attempted} attempted, {results.failed} failed")
        if results.failed or not results.attempted:
            sys.exit(1)
