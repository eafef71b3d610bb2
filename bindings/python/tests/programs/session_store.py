"""Sessions of a web application: a hash per session, expiry, an index by user, a change that must not be
lost, and messages about logouts."""

from __future__ import annotations

import os
import secrets
import time
from typing import Any

from redis.cluster import RedisCluster
from redis.exceptions import WatchError


class SessionStore:
    def __init__(self, client: RedisCluster, ttl: int = 1800) -> None:
        self.client, self.ttl = client, ttl

    def key(self, token: str) -> str:
        return f"session:{{{token}}}"

    def create(self, user: str, **values: Any) -> str:
        token = secrets.token_hex(8)
        with self.client.pipeline(transaction=True) as pipe:
            pipe.hset(self.key(token), mapping={"user": user, "created": int(time.time()), **values})
            pipe.expire(self.key(token), self.ttl)
            pipe.execute()
        self.client.sadd(f"sessions:{user}", token)
        return token

    def load(self, token: str) -> dict[str, str] | None:
        with self.client.pipeline() as pipe:
            values, exists = pipe.hgetall(self.key(token)).expire(self.key(token), self.ttl).execute()
        return values if exists else None

    def add_to_basket(self, token: str, price: int) -> int:
        """Adds to a sum, also when another request changes the session at the same time."""
        key = self.key(token)

        def change(pipe: Any) -> int:
            basket = int(pipe.hget(key, "basket") or 0) + price
            pipe.multi()
            pipe.hset(key, "basket", basket)
            return basket

        return int(self.client.transaction(change, key, value_from_callable=True))

    def rename(self, token: str, user: str) -> bool:
        """Fails if the session changes meanwhile."""
        key = self.key(token)
        with self.client.pipeline(transaction=True) as pipe:
            pipe.watch(key)
            before = pipe.hget(key, "user")
            self.client.hset(key, "seen", 1)  # another request
            pipe.multi()
            pipe.hset(key, "user", f"{before}+{user}")
            try:
                pipe.execute()
            except WatchError:
                return False
            return True

    def logout(self, user: str) -> int:
        tokens = self.client.smembers(f"sessions:{user}")
        removed = self.client.delete(*[self.key(token) for token in tokens]) if tokens else 0
        self.client.delete(f"sessions:{user}")
        self.client.publish("logouts", user)
        return int(removed)


def main() -> None:
    client = RedisCluster.from_url(os.environ["RDC_URL"].split(",")[0], decode_responses=True)
    store = SessionStore(client)
    messages = client.pubsub(ignore_subscribe_messages=True)
    messages.subscribe("logouts")
    first, second = store.create("ann", theme="dark"), store.create("ann")
    other = store.create("bob", theme="light")
    loaded = store.load(first)
    print("loaded", loaded and sorted(loaded), store.load("unknown"))
    print("basket", [store.add_to_basket(second, price) for price in (5, 7, 30)])
    print("renamed", store.rename(other, "rob"), client.hmget(store.key(other), "user", "seen"))
    print("ttl", 0 < client.ttl(store.key(first)) <= 1800)
    print("sessions", client.scard("sessions:ann"), client.exists(store.key(first), store.key(other)))
    print("logout", store.logout("ann"), store.load(first), store.load(other) is not None)
    message = None
    for _ in range(20):
        message = message or messages.get_message(timeout=0.5)
    print("message", message and message["data"])
    messages.close()
    client.close()


if __name__ == "__main__":
    main()
