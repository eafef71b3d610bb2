"""Runs the documented sessions of the given files in a cluster on ports 7000 to 7005.

`cluster run` starts the cluster. RDC_TLS_URL and RDC_TLS_CA name another cluster, with TLS, and the
file of its authority. Run by test_session.py; it can also be run by hand.
"""

from __future__ import annotations

import doctest
import os
import re
import sys
from pathlib import Path

from conftest import control

from rediscluster import RedisCluster


class Checker(doctest.OutputChecker):
    """Accepts u'' of Python 2 as '', any output where the page shows none, and an unshown repr of a
    pipeline."""

    def check_output(self, want: str, got: str, flags: int) -> bool:
        if not want:
            return True
        want = re.sub(r"\bu(?=')", "", want)
        got = re.sub(r"^<rediscluster\.pipeline\.ClusterPipeline.*>\n", "", got, flags=re.M)
        return super().check_output(want, got, flags)


class Runner(doctest.DocTestRunner):
    def report_start(self, out, test, example) -> None:
        # Wait until the replicas have the last writes.
        if "readonly" in example.source:
            control("wait-sync")


def with_addresses(text: str) -> str:
    """A page with the address and the authority of the cluster with TLS, which gets its user."""
    url, authority = os.environ.get("RDC_TLS_URL"), os.environ.get("RDC_TLS_CA")
    if not url or not authority:
        return text
    with RedisCluster.from_url(url, ssl_ca_certs=authority) as admin:
        rights = ("on", ">secret", ">next", "~app:*", "+@all")
        admin.execute_command("ACL SETUSER", "app", *rights, target_nodes="all")
    text = text.replace("rediss://app:secret@127.0.0.1:7000", url.replace("//", "//app:secret@"))
    return text.replace("/etc/redis/ca.pem", authority)


def run(path: Path) -> doctest.TestResults:
    text = with_addresses(path.read_text())
    test = doctest.DocTestParser().get_doctest(text, {}, path.name, str(path), 0)
    lines = text.split("\n")
    for example in test.examples:
        if ">>> # NO" in lines[example.lineno - 1]:
            # Not empty, because an empty "want" would accept an example that raises nothing.
            example.want = "Traceback (most recent call last):\n"
            example.exc_msg = "redis.exceptions.ReadOnlyError:\n"
            example.options = {doctest.IGNORE_EXCEPTION_DETAIL: True}
    return Runner(Checker(), verbose=False, optionflags=doctest.ELLIPSIS).run(test)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        results = run(Path(name))
        print(f"{Path(name).name}: {results.attempted} attempted, {results.failed} failed")
        if results.failed or not results.attempted:
            sys.exit(1)
