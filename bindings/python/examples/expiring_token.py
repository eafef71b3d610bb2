"""A client whose password is a token that expires, as managed services use it.

make_token() is where the library of the service signs a token. Nothing is signed here.
"""

from __future__ import annotations

import logging
import threading
from typing import Callable

from rediscluster import RedisCluster

RETRY_AFTER = 10.0


def keep_token_fresh(
    rc: RedisCluster,
    user: str,
    make_token: Callable[[], tuple[str, float]],
    stop: threading.Event,
) -> None:
    """Gives the client a new token before the last one expires, until `stop` is set. Runs in a
    thread of the program. make_token() returns a token and for how many seconds it is valid: 900
    at most managed services."""
    wait = 0.0
    while not stop.wait(wait):
        try:
            token, lifetime = make_token()
            rc.set_credentials(user, token)
            wait = lifetime * 0.75
        except Exception:
            # The last token is valid for a while: there is time for more tries.
            logging.exception("no new token for %s", user)
            wait = RETRY_AFTER


def connect(
    url: str, user: str, make_token: Callable[[], tuple[str, float]], stop: threading.Event
) -> RedisCluster:
    """A client with a first token, and a thread that renews it."""
    token, _ = make_token()
    rc = RedisCluster.from_url(url, username=user, password=token)
    arguments = (rc, user, make_token, stop)
    threading.Thread(target=keep_token_fresh, args=arguments, daemon=True).start()
    return rc
