"""The C extension: how it is chosen, and what is different in it. All other tests run with it and
without it."""

from __future__ import annotations

import copy
import enum
import os
import subprocess
import sys
import threading

import pytest

from rediscluster import ClusterPipeline, DataError, RedisCluster, ResponseError
from rediscluster._load_extension import extension

PATH = os.environ.get("RDC_PYTHON_EXTENSION", "")
needs_extension = pytest.mark.skipif(extension is None, reason="needs the C extension")


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# ---- Choice --------------------------------------------------------------------------------------

WHICH = (
    "from rediscluster._load_extension import extension; print(extension and extension.__name__)"
)


def test_choice_no_disables_extension():
    done = run(WHICH, RDC_PYTHON_EXTENSION="no")
    assert (done.stdout, done.stderr) == ("None\n", "")


@needs_extension
def test_choice_path_loads_that_file():
    done = run(WHICH, RDC_PYTHON_EXTENSION=extension.__spec__.origin or PATH)
    assert (done.stdout, done.stderr) == ("rediscluster._extension\n", "")


def test_choice_missing_file_raises_import_error():
    done = run(WHICH, RDC_PYTHON_EXTENSION="/nonexistent.so")
    assert "ImportError" in done.stderr and "/nonexistent.so" in done.stderr


@needs_extension
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the module has another name")
def test_subinterpreter_refuses_extension_and_works_without_it():
    code = """if True:
        import _xxsubinterpreters as interpreters, sys
        other = interpreters.create(isolated=False)
        interpreters.run_string(other, '''if True:
            import os, sys
            sys.path[:] = {path}
            try:
                from rediscluster import RedisCluster
            except ImportError as error:
                print(error)
            else:
                with RedisCluster.from_url(os.environ["RDC_URL"]) as rc:
                    print(rc.set("key", 1), rc.get("key"))
        '''.format(path=sys.path))
    """
    refused = run(code)
    assert "works in the main interpreter only" in refused.stdout, refused.stderr
    accepted = run(code, RDC_PYTHON_EXTENSION="no")
    assert (accepted.stdout, accepted.stderr) == ("True b'1'\n", "")


# ---- Arguments and responses ---------------------------------------------------------------------


class Number(enum.IntEnum):
    SEVEN = 7


class Name(str):
    pass


ARGUMENTS = [
    ("text", b"text"),
    ("t\u00e4xt \u20ac", "t\u00e4xt \u20ac".encode()),
    (Name("name"), b"name"),
    (b"bytes\0\r\n", b"bytes\0\r\n"),
    (bytearray(b"array"), b"array"),
    (memoryview(b"0view0")[1:5], b"view"),
    (memoryview(b"v0i0e0w0")[::2], b"view"),
    ("", b""),
    (0, b"0"),
    (-12, b"-12"),
    (10**30, b"1" + b"0" * 30),
    (Number.SEVEN, b"7"),
    (1.5, b"1.5"),
    (float("inf"), b"inf"),
]


@pytest.mark.parametrize(("value", "sent"), ARGUMENTS)
def test_argument_is_sent_as_redis_py_does(rc, value, sent):
    assert rc.set("key", value) is True
    assert rc.get("key") == sent
    assert rc.execute_command("ECHO", value) == sent
    assert rc.pipeline().set("key", value).get("key").execute() == [True, sent]


@pytest.mark.parametrize("value", [True, None, [], object(), {"a": 1}])
def test_argument_of_other_type_raises_data_error(rc, value):
    for call in (rc.get, rc.pipeline().get, lambda v: rc.execute_command("SET", "key", v)):
        with pytest.raises(DataError, match=f"Invalid input of type: '{type(value).__name__}'"):
            call(value)


def test_command_of_any_length_is_sent(rc):
    for count in (1, 14, 15, 16, 17, 1000):
        members = [f"m{i}" for i in range(count)]
        assert rc.sadd(f"set{count}", *members) == count
        assert rc.pipeline().sadd(f"set{count}", *members).execute() == [0]


def test_command_name_may_have_lower_case_and_spaces(rc):
    rc.set("key", "value")
    assert rc.execute_command("get", "key") == b"value"
    assert rc.execute_command(b"GET", "key") == b"value"
    assert rc.execute_command("hset", "hash", "field", 1) == 1
    assert rc.execute_command("hgetall", "hash") == {b"field": b"1"}
    assert rc.execute_command("  object  encoding ", "hash") in (b"listpack", b"ziplist")
    assert rc.execute_command("Object Encoding", "hash", keys=["hash"]) in (b"listpack", b"ziplist")


def test_encoding_other_than_utf8_is_used_for_arguments_and_responses(url, rc):
    options = {"encoding": "latin-1", "decode_responses": True}
    with RedisCluster.from_url(url, **options) as latin:
        assert latin.set("k\u00e4y", "\u00e4") is True
        assert latin.get("k\u00e4y") == "\u00e4"
        assert latin.pipeline().get("k\u00e4y").execute() == ["\u00e4"]
    assert rc.get(b"k\xe4y") == b"\xe4"
    with pytest.raises(UnicodeEncodeError):
        rc.get("\ud800")


def test_callback_set_later_is_used(rc):
    rc.set("key", "value")
    rc.hset("hash", "field", 1)
    assert (rc.get("key"), rc.hgetall("hash")) == (b"value", {b"field": b"1"})
    rc.set_response_callback("GET", lambda value, **options: (value, options))
    rc.set_response_callback("HGETALL", list)
    assert rc.get("key") == (b"value", {})
    assert rc.execute_command("GET", "key", keys=["key"], flag=1) == (b"value", {"flag": 1})
    assert rc.hgetall("hash") == [b"field", b"1"]
    pipe = rc.pipeline().get("key").hgetall("hash")
    assert pipe.execute() == [(b"value", {}), [b"field", b"1"]]
    assert rc.with_options(timeout_ms=4000).get("key") == (b"value", {})


def test_copy_of_client_works_on_same_handle(rc):
    other = copy.copy(rc)
    other.set_response_callback("GET", lambda value: [value])
    assert rc.set("key", 1) and (rc.get("key"), other.get("key")) == (b"1", [b"1"])


def test_exception_of_callback_is_raised_and_keeps_client_usable(rc):
    def fail(_: object) -> None:
        raise ZeroDivisionError

    rc.set_response_callback("GET", fail)
    rc.set("key", "value")
    with pytest.raises(ZeroDivisionError):
        rc.get("key")
    with pytest.raises(ZeroDivisionError):
        rc.pipeline().get("key").execute()
    failed = rc.pipeline().get("key").strlen("key").execute(raise_on_error=False)
    assert isinstance(failed[0], ZeroDivisionError) and failed[1] == 5


REPLIES = {
    "return 1": 1,
    "return {1, {2, {3, 'x'}}, false}": [1, [2, [3, b"x"]], None],
    "return {}": [],
    "return {ok='fine'}": b"fine",
    "redis.setresp(3); return {map={a=1}}": {b"a": 1},
    "redis.setresp(3); return {set={a=true}}": {b"a"},
    "redis.setresp(3); return {double=1.5}": 1.5,
    "redis.setresp(3); return {big_number='123456789012345678901234567890'}": 123456789012345678901234567890,
    "redis.setresp(3); return true": True,
    "local t = {} for i = 1, 200 do t[i] = i end return t": list(range(1, 201)),
}


@pytest.mark.parametrize("script", REPLIES)
def test_reply_of_every_kind_becomes_its_value(url, rc, script):
    with RedisCluster.from_url(url, protocol=3) as client:
        assert client.eval(script, 1, "key") == REPLIES[script]
        assert client.pipeline().eval(script, 1, "key").execute() == [REPLIES[script]]


def test_map_with_keys_without_hash_is_list_of_pairs(url, rc):
    script = "redis.setresp(3); local t = {} t[{1, 2}] = 3 return {map=t}"
    with RedisCluster.from_url(url, protocol=3) as client:
        assert client.eval(script, 1, "key") == [([1, 2], 3)]


def test_error_in_list_is_an_element(rc):
    found = rc.eval("return {1, redis.error_reply('BAD thing')}", 1, "key")
    assert found[0] == 1 and isinstance(found[1], ResponseError) and str(found[1]) == "BAD thing"
    assert (found[1].code, found[1].sent) == ("SERVER", True)


def test_text_that_is_not_utf8_raises_and_leaks_nothing(text):
    text.execute_command("SET", "key", b"\xff")
    for _ in range(3):
        with pytest.raises(UnicodeDecodeError):
            text.get("key")
    found = text.pipeline().get("key").get("none").execute(raise_on_error=False)
    assert isinstance(found[0], UnicodeDecodeError) and found[1] is None


# ---- Pipelines -----------------------------------------------------------------------------------


def test_pipeline_subclass_sees_every_command(rc):
    seen = []

    class Traced(ClusterPipeline):
        def execute_command(self, *args, **options):
            seen.append(args[0])
            return super().execute_command(*args, **options)

    assert Traced(rc, False).set("key", 1).get("key").hget("hash", "field").execute()
    assert seen == ["SET", "GET", "HGET"]


def test_pipeline_keeps_order_after_watch_and_reset(rc):
    rc.set("{k}a", 1)
    with rc.pipeline() as pipe:
        pipe.get("dropped").reset()
        assert pipe.set("{k}a", 2).get("{k}a").delete().get("{k}a").execute() == [
            True,
            b"2",
            0,
            b"2",
        ]
        pipe.watch("{k}a")
        assert pipe.get("{k}a") == b"2"
        pipe.multi()
        assert pipe.set("{k}a", 3).get("{k}a").execute() == [True, b"3"]
        assert pipe.get("{k}a").set("{k}a", 4).get("{k}a").execute() == [b"3", True, b"4"]


def test_pipeline_executed_while_other_thread_appends(rc):
    """One thread at a time may use a pipeline, but misuse must not end the process."""
    pipe = rc.pipeline()
    ends = threading.Event()

    def append() -> None:
        while not ends.is_set():
            pipe.get("key")

    thread = threading.Thread(target=append)
    thread.start()
    try:
        for _ in range(200):
            pipe.execute(raise_on_error=False)
    finally:
        ends.set()
        thread.join()
    pipe.reset()
    assert pipe.get("key").execute() == [None]


def test_commands_of_a_pipeline_are_remembered_in_order(rc):
    pipe = rc.pipeline()
    pipe.get("a").get("b").get("c").set("a", 1).get("a").get("b")
    pipe.mget([]).get("c").hgetall("h").hgetall("h")
    assert len(pipe) == 10
    pipe.get("a").get("a")
    names = [name for name, _ in pipe._commands]
    assert names == ["GET"] * 3 + ["SET"] + ["GET"] * 2 + ["MGET", "GET", "HGETALL", "HGETALL", "GET", "GET"]
    found = pipe.execute()
    assert found == [None, None, None, True, b"1", None, [], None, {}, {}, b"1", b"1"]
    pipe.get("a").get("a")
    pipe.reset()
    assert len(pipe) == 0 and pipe.get("a").execute() == [b"1"]
    if extension is not None:
        with pytest.raises(TypeError, match="_commands is a list"):
            pipe._commands = ()
