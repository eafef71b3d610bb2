"""Publish/subscribe with redis-py's interface: subscriptions, messages, handlers and gaps. What
threads and event loops add: test_pubsub_threads.py and test_pubsub_asyncio.py."""

from __future__ import annotations

import itertools
import time
from typing import Any, NamedTuple

import pytest
import redis
from conftest import control

from rediscluster.exceptions import DataError, RedisClusterException

UNICODE = "uni\u1168code"


class Form(NamedTuple):
    """One of the three kinds of subscriptions: its commands, its message, and where it is sent."""

    subscribe: str
    unsubscribe: str
    message: str
    names: tuple[str, ...]
    channels: tuple[str, ...]
    publish: str
    attribute: str


def forms(prefix: str) -> dict[str, Form]:
    """The forms with channels of this prefix. It is also a hash tag, because the confirmations of
    several nodes have no order."""
    names = tuple(prefix + name for name in ("foo", "bar", UNICODE))
    patterns = tuple(prefix + name for name in ("f*", "b*", "uni\u1168*"))
    rows = (
        ("subscribe", "unsubscribe", "message", names, names, "publish", "channels"),
        ("psubscribe", "punsubscribe", "pmessage", patterns, names, "publish", "patterns"),
        ("ssubscribe", "sunsubscribe", "smessage", names, names, "spublish", "shard_channels"),
    )
    return {row[-1]: Form(*row) for row in rows}


# A message travels from node to node, and may arrive after the test that sent it has ended.
serial = itertools.count()


@pytest.fixture
def channel():
    """A channel that no other test uses."""
    return f"{{py:{next(serial)}}}foo"


@pytest.fixture(params=sorted(forms("")))
def form(request):
    return forms(f"{{py:{next(serial)}}}")[request.param]


@pytest.fixture
def pubsub(rc):
    p = rc.pubsub()
    yield p
    (p.aclose if hasattr(p, "aclose") else p.close)()


def encoded(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def confirmation(kind: str, name: str | None, count: int) -> dict[str, Any]:
    return {"type": kind, "pattern": None, "channel": encoded(name), "data": count}


def wait(p: Any, seconds: float = 5.0, **options: Any) -> Any:
    """The next message, or None."""
    return p.get_message(timeout=seconds, **options)


def until(p: Any, kind: str, seconds: float = 20) -> Any:
    """The next message of this type. Others are dropped, and errors are tried again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            message = wait(p, 1)
        except redis.exceptions.RedisError:
            continue
        if message is not None and message["type"] == kind:
            return message
    raise AssertionError(f"no {kind} within {seconds} s")


def subscribe(p: Any, form: Form, *names: str, **handlers: Any) -> None:
    getattr(p, form.subscribe)(*names, **handlers)


def unsubscribe(p: Any, form: Form, *names: str) -> None:
    getattr(p, form.unsubscribe)(*names)


def received(form: Form, i: int, data: str) -> dict[str, Any]:
    """The message on the channel of this index, as bytes."""
    pattern = form.names[i].encode() if form.message == "pmessage" else None
    return {
        "type": form.message, "pattern": pattern,
        "channel": form.channels[i].encode(), "data": data.encode(),
    }  # fmt: skip


# ---- Subscriptions -------------------------------------------------------------------------------


def test_each_subscription_is_confirmed_with_a_count(pubsub, form):
    for name in form.names:
        assert getattr(pubsub, form.subscribe)(name) is None
    for i, name in enumerate(form.names):
        assert wait(pubsub) == confirmation(form.subscribe, name, i + 1)
    for name in form.names:
        assert getattr(pubsub, form.unsubscribe)(name) is None
    for i, name in enumerate(form.names):
        assert wait(pubsub) == confirmation(form.unsubscribe, name, 2 - i)


def test_names_may_be_a_list(pubsub, form):
    subscribe(pubsub, form, list(form.names))
    assert {wait(pubsub)["channel"] for _ in form.names} == set(map(encoded, form.names))
    unsubscribe(pubsub, form, list(form.names))
    assert {wait(pubsub)["type"] for _ in form.names} == {form.unsubscribe}
    assert pubsub.subscribed is False


def test_subscribed_lasts_until_the_last_confirmation(pubsub, form):
    one, other, _ = form.names
    assert pubsub.subscribed is False
    subscribe(pubsub, form, one)
    assert pubsub.subscribed is True  # although nothing has been read
    assert wait(pubsub) == confirmation(form.subscribe, one, 1)
    unsubscribe(pubsub, form)
    assert pubsub.subscribed is True
    assert wait(pubsub) == confirmation(form.unsubscribe, one, 0)
    assert pubsub.subscribed is False

    subscribe(pubsub, form, one)
    assert pubsub.subscribed is True and wait(pubsub)["type"] == form.subscribe
    unsubscribe(pubsub, form)
    subscribe(pubsub, form, other)  # before the confirmation is read
    assert wait(pubsub) == confirmation(form.unsubscribe, one, 0)
    assert pubsub.subscribed is True
    assert wait(pubsub) == confirmation(form.subscribe, other, 1)
    unsubscribe(pubsub, form, other)
    assert wait(pubsub) == confirmation(form.unsubscribe, other, 0)
    assert pubsub.subscribed is False


@pytest.mark.parametrize("everything", (False, True))
def test_resubscription_before_the_confirmation_is_kept(pubsub, form, everything):
    name = form.names[0]
    subscribe(pubsub, form, name)
    unsubscribe(pubsub, form, *(() if everything else (name,)))
    subscribe(pubsub, form, name)
    kinds = [wait(pubsub) for _ in range(3)]
    assert kinds == [
        confirmation(form.subscribe, name, 1),
        confirmation(form.unsubscribe, name, 0),
        confirmation(form.subscribe, name, 1),
    ]
    assert pubsub.subscribed is True and list(getattr(pubsub, form.attribute)) == [encoded(name)]


def test_attributes_have_names_and_handlers(pubsub, form):
    def handler(message: Any) -> None:
        pass

    subscribe(pubsub, form, form.names[0], **{form.names[1]: handler})
    wanted = {encoded(form.names[0]): None, encoded(form.names[1]): handler}
    assert getattr(pubsub, form.attribute) == wanted


def test_ignored_confirmations_are_none(rc, form):
    p = rc.pubsub(ignore_subscribe_messages=True)
    subscribe(p, form, form.names[0])
    assert wait(p) is None and p.subscribed
    unsubscribe(p, form, form.names[0])
    assert wait(p) is None and not p.subscribed
    p.close()


def test_confirmations_are_ignored_one_by_one(pubsub, form):
    subscribe(pubsub, form, form.names[0])
    assert wait(pubsub, ignore_subscribe_messages=True) is None
    unsubscribe(pubsub, form, form.names[0])
    assert wait(pubsub) == confirmation(form.unsubscribe, form.names[0], 0)


def test_shard_channels_of_many_slots_share_a_subscriber(rc, pubsub):
    names = [f"shard:{i}" for i in range(50)]
    pubsub.ssubscribe(*names)
    assert sorted(wait(pubsub)["channel"] for _ in names) == sorted(map(encoded, names))
    for name in names:
        assert rc.spublish(name, name) == 1
    messages = [pubsub.get_sharded_message(timeout=5) for _ in names]
    assert sorted(m["data"] for m in messages) == sorted(map(encoded, names))
    assert {m["type"] for m in messages} == {"smessage"}


def test_bad_arguments_are_refused(rc, pubsub, channel):
    with pytest.raises(DataError):
        pubsub.subscribe(object())
    with pytest.raises(DataError):
        pubsub.execute_command("GET", channel)
    with pytest.raises(RedisClusterException, match="library chooses"):
        rc.pubsub(host="127.0.0.1", port=7000)
    assert pubsub.subscribed is False


def test_refused_channel_raises_and_others_go_on(url, rc, connect):
    rc.execute_command(
        "ACL SETUSER", "py-sub", "on", ">secret", "+@all", "~*", "resetchannels", "&allowed"
    )
    try:
        with connect(url, username="py-sub", password="secret") as client:
            p = client.pubsub()
            p.subscribe("secret", "allowed")
            with pytest.raises(redis.exceptions.NoPermissionError, match="secret"):
                while wait(p)["type"] == "subscribe":
                    pass
            rc.publish("allowed", "x")
            assert until(p, "message")["data"] == b"x"
            (p.aclose if hasattr(p, "aclose") else p.close)()
    finally:
        rc.acl_deluser("py-sub")


def test_event_says_whether_there_is_a_subscription(rc, channel):
    p = rc.pubsub()
    if not hasattr(p, "subscribed_event"):
        pytest.skip("the event is one of threads")
    assert not p.subscribed_event.is_set()
    p.subscribe(channel)
    assert p.subscribed_event.is_set()
    p.unsubscribe()
    assert wait(p)["type"] == "subscribe" and wait(p)["type"] == "unsubscribe"
    assert not p.subscribed_event.is_set()
    p.close()


# ---- Messages ------------------------------------------------------------------------------------


def test_message_is_a_dict(rc, pubsub, form):
    subscribe(pubsub, form, form.names[0])
    assert wait(pubsub)["type"] == form.subscribe
    getattr(rc, form.publish)(form.channels[0], "test message")
    assert wait(pubsub) == received(form, 0, "test message")


def test_push_handler_gets_everything_as_servers_send_it(rc, form):
    pushes: list[Any] = []
    p = rc.pubsub(push_handler_func=pushes.append)

    def push() -> Any:
        end = time.monotonic() + 10
        while not pushes and time.monotonic() < end:
            assert p.get_message(timeout=0.1) is None
        return pushes.pop()

    name, channel = form.names[0].encode(), form.channels[0].encode()
    subscribe(p, form, form.names[0])
    assert push() == [form.subscribe.encode(), name, 1]
    getattr(rc, form.publish)(form.channels[0], "x")
    pattern = [name] if form.message == "pmessage" else []
    assert push() == [form.message.encode(), *pattern, channel, b"x"]
    unsubscribe(p, form)
    assert push() == [form.unsubscribe.encode(), name, 0]
    assert p.subscribed is False
    (p.aclose if hasattr(p, "aclose") else p.close)()


def test_channel_and_pattern_both_get_a_message(rc, pubsub, channel):
    pubsub.subscribe(channel)
    pubsub.psubscribe(channel + "*")
    assert wait(pubsub) == confirmation("subscribe", channel, 1)
    assert wait(pubsub) == confirmation("psubscribe", channel + "*", 2)
    rc.publish(channel, "x")
    assert {wait(pubsub)["type"], wait(pubsub)["type"]} == {"message", "pmessage"}


def test_handler_gets_the_message(rc, pubsub, form):
    seen: list[Any] = []
    subscribe(pubsub, form, **{form.names[2]: seen.append})
    assert wait(pubsub)["type"] == form.subscribe
    getattr(rc, form.publish)(form.channels[2], "for the handler")
    assert wait(pubsub) is None
    assert seen == [received(form, 2, "for the handler")]


@pytest.mark.skipif(not hasattr(redis.typing, "Subscription"), reason="redis-py 7 has it first")
def test_handler_of_a_subscription_object_gets_the_message(rc, pubsub):
    seen: list[Any] = []
    pubsub.subscribe(redis.typing.Subscription(b"\xff", seen.append), "plain")
    assert {wait(pubsub)["channel"], wait(pubsub)["channel"]} == {b"\xff", b"plain"}
    rc.publish(b"\xff", b"\xfe")
    assert wait(pubsub) is None
    assert [message["data"] for message in seen] == [b"\xfe"]


def test_texts_are_strings_on_request(text, form):
    seen: list[Any] = []
    p = text.pubsub()
    subscribe(p, form, form.names[0], **{form.names[2]: seen.append})
    kinds = {(m["type"], m["channel"]) for m in (wait(p), wait(p))}
    assert kinds == {(form.subscribe, form.names[0]), (form.subscribe, form.names[2])}
    getattr(text, form.publish)(form.channels[0], UNICODE)
    pattern = form.names[0] if form.message == "pmessage" else None
    assert wait(p) == {
        "type": form.message, "pattern": pattern, "channel": form.channels[0], "data": UNICODE,
    }  # fmt: skip
    getattr(text, form.publish)(form.channels[2], UNICODE)
    assert wait(p) is None and seen[0]["channel"] == form.channels[2]
    assert seen[0]["data"] == UNICODE
    p.close()


def test_listen_ends_with_the_last_subscription(rc, pubsub, channel):
    pubsub.subscribe(channel)
    kinds = []
    for message in pubsub.listen():
        kinds.append(message["type"])
        if message["type"] == "subscribe":
            rc.publish(channel, "x")
        elif message["type"] == "message":
            pubsub.unsubscribe(channel)
    assert kinds == ["subscribe", "message", "unsubscribe"]
    assert list(pubsub.listen()) == []


def test_timeout_is_respected(pubsub, channel):
    pubsub.subscribe(channel)
    assert wait(pubsub)["type"] == "subscribe"
    began = time.monotonic()
    assert pubsub.get_message(timeout=0.2) is None
    assert 0.2 <= time.monotonic() - began < 1
    began = time.monotonic()
    assert pubsub.get_message() is None
    assert time.monotonic() - began < 0.1


def test_polling_without_timeout_connects_and_receives(rc, pubsub, channel):
    pubsub.subscribe(channel)
    deadline = time.monotonic() + 5
    published = False
    while time.monotonic() < deadline:
        message = pubsub.get_message()
        if message and message["type"] == "subscribe":
            rc.publish(channel, "x")
            published = True
        elif message:
            break
        time.sleep(0.001)
    assert published and message["data"] == b"x"


def test_many_messages_keep_their_order(rc, pubsub, channel):
    pubsub.subscribe(channel)
    assert wait(pubsub)["type"] == "subscribe"
    pipe = rc.pipeline()
    for i in range(2000):
        pipe.publish(channel, i)
    pipe.execute()
    messages = [wait(pubsub) for _ in range(2000)]
    assert [m for m in messages if m["type"] != "message"] == []
    numbers = [int(message["data"]) for message in messages]
    # PUBLISH goes to any node, so the order of a pipeline is not promised; nothing is lost.
    assert sorted(numbers) == list(range(2000))


def test_ping_is_answered_by_a_message(pubsub, channel):
    pubsub.subscribe(channel)
    assert wait(pubsub)["type"] == "subscribe"
    assert pubsub.ping() is True
    assert wait(pubsub) == {"type": "pong", "pattern": None, "channel": None, "data": b""}
    pubsub.ping("hello world")
    assert wait(pubsub)["data"] == b"hello world"


def test_closed_pubsub_can_be_used_again(rc, pubsub, channel):
    pubsub.subscribe(channel)
    assert wait(pubsub)["type"] == "subscribe"
    pubsub.reset()
    assert pubsub.subscribed is False and pubsub.channels == {}
    pubsub.subscribe("bar")
    assert wait(pubsub) == confirmation("subscribe", "bar", 1)


def test_context_manager_closes(rc, channel):
    with rc.pubsub() as p:
        p.subscribe(channel)
        assert wait(p)["type"] == "subscribe"
        assert rc.pubsub_numsub(channel)[0][1] == 1
    deadline = time.monotonic() + 5
    while rc.pubsub_numsub(channel)[0][1] != 0:
        assert time.monotonic() < deadline


def test_introspection_covers_all_nodes(rc, pubsub):
    pubsub.subscribe("in:1", "in:2")
    pubsub.psubscribe("in:*")
    pubsub.ssubscribe("in:s")
    for _ in range(4):
        wait(pubsub)
    assert sorted(rc.pubsub_channels("in:*")) == [b"in:1", b"in:2"]
    assert rc.pubsub_numsub("in:1", "in:3") == [(b"in:1", 1), (b"in:3", 0)]
    assert rc.pubsub_numpat() == 1
    assert rc.pubsub_shardchannels("in:*") == [b"in:s"]
    assert rc.pubsub_shardnumsub("in:s") == [(b"in:s", 1)]


def test_keyspace_notifications_come_from_every_primary(rc, pubsub):
    rc.config_set("notify-keyspace-events", "KA", target_nodes="primaries")
    try:
        pubsub.psubscribe("__keyspace@0__:note:*")
        assert wait(pubsub)["type"] == "psubscribe"
        # The subscriptions of all primaries are made one after another.
        names = [f"note:{i}" for i in range(30)]
        seen: dict[bytes, str] = {}
        deadline = time.monotonic() + 10
        while len(seen) < 30 and time.monotonic() < deadline:
            for name in names:
                if f"__keyspace@0__:{name}".encode() not in seen:
                    rc.set(name, "x")
            while (message := wait(pubsub, 0.2)) is not None:
                if message["type"] == "pmessage":
                    seen[message["channel"]] = message.node
        assert len(seen) == 30
        primaries = {node.name for node in rc.get_primaries()}
        assert set(seen.values()) == primaries
    finally:
        rc.config_set("notify-keyspace-events", "", target_nodes="primaries")


# ---- Gaps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("handled", (False, True))
def test_killed_node_is_announced_as_a_gap(rc, handled):
    gaps: list[Any] = []
    p = rc.pubsub(ignore_subscribe_messages=True, gap_handler=gaps.append if handled else None)
    p.ssubscribe("gap:shard")
    assert wait(p) is None
    rc.spublish("gap:shard", "before")
    assert wait(p)["data"] == b"before"
    control("wait-sync")
    port = control("primary-of", "key:gap:shard")[0]
    control("kill", port)
    try:
        if handled:
            deadline = time.monotonic() + 20
            while not gaps and time.monotonic() < deadline:
                try:
                    assert wait(p, 1) is None
                except redis.exceptions.RedisError:
                    pass
            gap = gaps[0]
        else:
            gap = until(p, "gap")  # although confirmations are ignored
        assert (gap["kind"], gap["channel"], gap["pattern"]) == ("smessage", b"gap:shard", None)
        assert gap["data"]
        deadline = time.monotonic() + 20
        while rc.spublish("gap:shard", "after") == 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert until(p, "smessage")["data"] == b"after"
    finally:
        control("restart", port)
        control("wait-healthy")
        p.close()


def test_closed_client_ends_its_subscribers(url, connect, rc, channel):
    client = connect(url)
    p = client.pubsub()
    p.subscribe(channel)
    assert wait(p)["type"] == "subscribe"
    client.close()
    with pytest.raises(redis.exceptions.ConnectionError) as raised:
        wait(p)
    assert raised.value.code == "CLOSED"
    p.close()


def test_what_is_published_after_subscribe_arrives(rc, pubsub):
    """As in redis-py, the program need not read the confirmation first."""
    for subscribe, publish, channel in (
        (pubsub.subscribe, rc.publish, "first:a"),
        (pubsub.psubscribe, rc.publish, "first:b"),
        (pubsub.ssubscribe, rc.spublish, "first:c"),
    ):
        subscribe(channel)
        publish(channel, "x")
        kinds = [pubsub.get_message(timeout=5)["type"] for _ in range(2)]
        assert kinds[0].endswith("subscribe") and kinds[1].endswith("message")


def test_channel_that_is_subscribed_twice_is_confirmed_at_once(pubsub):
    began = time.monotonic()
    for _ in range(3):
        pubsub.subscribe("twice", "twice")
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("timeout", "error", "message"),
    [
        (float("nan"), ValueError, "timeout must not be NaN: pass a number of seconds, or None"),
        ("x", TypeError, "timeout must be a number of seconds, or None .* not 'x'"),
        (b"1", TypeError, "timeout must be a number of seconds, or None .* not b'1'"),
        ([], TypeError, r"timeout must be a number of seconds, or None .* not \[\]"),
    ],
)
def test_timeout_that_is_no_time_is_refused(pubsub, timeout, error, message):
    pubsub.subscribe("limit")
    for _ in range(2):  # with the stored confirmation, and without
        for get in (pubsub.get_message, pubsub.get_sharded_message):
            with pytest.raises(error, match=message):
                get(timeout=timeout)
        wait(pubsub, 0.01)


def test_negative_timeout_does_not_wait_and_infinity_has_no_limit(rc, pubsub, channel):
    pubsub.ssubscribe(channel)
    assert pubsub.get_message(timeout=float("inf"))["type"] == "ssubscribe"
    for timeout in (-1, float("-inf")):
        assert pubsub.get_message(timeout=timeout) is None
    for timeout in (float("inf"), 1e30):
        rc.spublish(channel, "x")
        assert pubsub.get_message(timeout=timeout)["data"] == b"x"


def test_handler_that_is_no_function_is_refused(rc, pubsub, form):
    for argument in ("gap_handler", "push_handler_func"):
        with pytest.raises(TypeError, match=f"{argument} must be a function of a message, or None"):
            rc.pubsub(**{argument: 5})
        assert rc.pubsub(**{argument: None}).subscribed is False
    with pytest.raises(TypeError, match="the handler of .* must be a function of a message.* not 5"):
        getattr(pubsub, form.subscribe)(**{form.names[0]: 5})
    assert pubsub.subscribed is False
    getattr(pubsub, form.subscribe)(**{form.names[0]: None})
    assert wait(pubsub)["type"] == form.subscribe


def test_unknown_argument_of_pubsub_is_an_error_of_pubsub(rc):
    with pytest.raises(TypeError, match=r"pubsub\(\) got an unexpected keyword argument 'foo'"):
        rc.pubsub(foo=1)
