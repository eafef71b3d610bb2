"""The code of the documentation. Sessions run in a cluster on the ports that they use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rediscluster import RedisCluster

HERE = Path(__file__).resolve().parent


README = HERE.parent / "README.md"
CLUSTER = os.environ["RDC_CLUSTER"]


def run_session(page: Path, *around: str) -> None:
    command = [*around, CLUSTER, "run", "--ports", "7000-7005", "--"]
    command += [sys.executable, "-W", "error", str(HERE / "session.py"), str(page)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout


def test_documented_session_runs_as_written():
    run_session(HERE / "readonly-mode.rst")


def test_sessions_of_readme_run_as_written(tmp_path):
    examples = HERE.parents[1] / "examples"
    subprocess.run(["sh", examples / "certificates.sh", tmp_path], check=True)
    cert, key, ca = (str(tmp_path / name) for name in ("node.pem", "node.key", "ca.pem"))
    # One cluster with TLS, and one on the ports of the page.
    script = 'RDC_TLS_URL=$RDC_URL RDC_TLS_CA=$0 exec "$@"'
    run_session(README, CLUSTER, "run", "--tls", cert, key, ca, "--", "sh", "-c", script, ca)


def test_clients_of_readme_connect(url):
    """The only block that is not a session. Each line makes a client, which reaches a server."""
    blocks = [each.split("```")[0] for each in README.read_text().split("```python\n")[1:]]
    (block,) = (each for each in blocks if not each.startswith(">>> "))
    seeds = os.environ["RDC_SEEDS"]
    first = seeds.split(",")[0].split(":")
    single = os.environ["RDC_SINGLE_URL"].split("//")[1].split(":")
    for old, new in {
        '"127.0.0.1", 7000': f'"{first[0]}", {first[1]}',
        '["node1:7000", "node2:7000"]': repr(seeds.split(",")),
        "node1:7000,node2:7000": seeds,
        '"localhost"': f'"{single[0]}", {single[1]}',
        "/run/redis.sock": os.environ["RDC_SINGLE_SOCKET"],
    }.items():
        assert old in block
        block = block.replace(old, new)
    with RedisCluster.from_url(url) as admin:
        user = ("ACL SETUSER", "app", "on", ">...", ">p@ss", "~*", "+@all")
        admin.execute_command(*user, target_nodes="all")
        for line in block.splitlines():
            with eval(line) as client:
                assert client.ping(), line
        admin.execute_command("ACL DELUSER", "app", target_nodes="all")
