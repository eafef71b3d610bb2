"""A cache in front of a slow function: values with a time to live, one computation at a time per key, and
groups of entries that are dropped together."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from typing import Any

from redis.cluster import RedisCluster
from redis.exceptions import LockError


class Cache:
    def __init__(self, client: RedisCluster, name: str, ttl: float = 30) -> None:
        self.client, self.name, self.ttl = client, name, ttl
        self.hits = self.misses = 0

    def key(self, group: str, item: str) -> str:
        # The entries of a group are in one slot.
        return f"{self.name}:{{{group}}}:{item}"

    def get(self, group: str, item: str, compute: Callable[[], Any]) -> Any:
        key = self.key(group, item)
        found = self.client.get(key)
        if found is not None:
            self.hits += 1
            return json.loads(found)
        try:
            # Other processes that miss the same entry wait for this one.
            with self.client.lock(f"{key}:lock", timeout=5, blocking_timeout=5):
                found = self.client.get(key)
                if found is not None:
                    self.hits += 1
                    return json.loads(found)
                self.misses += 1
                return self._store(group, key, compute())
        except LockError:
            return compute()

    def _store(self, group: str, key: str, value: Any) -> Any:
        index = self.key(group, "index")
        with self.client.pipeline(transaction=True) as pipe:
            pipe.set(key, json.dumps(value), px=int(1000 * self.ttl))
            pipe.sadd(index, key)
            pipe.expire(index, int(self.ttl) + 1)
            pipe.execute()
        return value

    def get_many(self, group: str, items: list[str]) -> dict[str, Any]:
        values = self.client.mget([self.key(group, item) for item in items])
        return {item: json.loads(value) for item, value in zip(items, values) if value is not None}

    def drop(self, group: str) -> int:
        index = self.key(group, "index")
        keys = self.client.smembers(index)
        return self.client.delete(index, *keys) - 1 if keys else 0


def main() -> None:
    client = RedisCluster.from_url(os.environ["RDC_URL"].split(",")[0], decode_responses=True)
    cache = Cache(client, "cache")
    calls: list[str] = []

    def slow(item: str) -> dict[str, Any]:
        calls.append(item)
        return {"name": item, "size": len(item)}

    for item in ("apple", "pear", "apple", "plum", "pear"):
        print(item, cache.get("fruit", item, lambda item=item: slow(item)))
    print("hits", cache.hits, "misses", cache.misses)

    threads = [
        threading.Thread(target=cache.get, args=("fruit", "fig", lambda: slow("fig")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("computed once:", calls.count("fig"))
    print(cache.get_many("fruit", ["plum", "fig", "kiwi"]))
    ttl = client.pttl(cache.key("fruit", "plum"))
    print("ttl", 0 < ttl <= 30_000)
    print("dropped", cache.drop("fruit"), cache.get_many("fruit", ["apple", "plum"]))
    client.close()


if __name__ == "__main__":
    main()
