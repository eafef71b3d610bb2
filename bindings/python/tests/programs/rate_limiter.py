"""Three rate limiters: a counter per window, a sliding log, and a token bucket as a script."""

from __future__ import annotations

import os

from redis.cluster import RedisCluster

BUCKET = """
local state = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local rate, size, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local tokens = tonumber(state[1]) or size
local at = tonumber(state[2]) or now
tokens = math.min(size, tokens + (now - at) * rate)
local allowed = 0
if tokens >= 1 then
    tokens = tokens - 1
    allowed = 1
end
redis.call('HSET', KEYS[1], 'tokens', tokens, 'at', now)
redis.call('EXPIRE', KEYS[1], 3600)
return {allowed, tostring(tokens)}
"""


class Windows:
    """At most `limit` requests in each window of `seconds`."""

    def __init__(self, client: RedisCluster, limit: int, seconds: int) -> None:
        self.client, self.limit, self.seconds = client, limit, seconds

    def allow(self, user: str, now: float) -> bool:
        key = f"limit:{{{user}}}:{int(now) // self.seconds}"
        with self.client.pipeline() as pipe:
            count, _ = pipe.incr(key).expire(key, 2 * self.seconds).execute()
        return bool(count <= self.limit)


class Sliding:
    """At most `limit` requests in the last `seconds`."""

    def __init__(self, client: RedisCluster, limit: int, seconds: int) -> None:
        self.client, self.limit, self.seconds = client, limit, seconds

    def allow(self, user: str, now: float) -> bool:
        key = f"log:{{{user}}}"
        with self.client.pipeline(transaction=True) as pipe:
            pipe.zremrangebyscore(key, 0, now - self.seconds)
            pipe.zadd(key, {repr(now): now})
            pipe.zcard(key)
            pipe.expire(key, self.seconds + 1)
            _, _, count, _ = pipe.execute()
        if count > self.limit:
            self.client.zrem(key, repr(now))
        return bool(count <= self.limit)


class Bucket:
    """`rate` requests a second, with bursts of `size`."""

    def __init__(self, client: RedisCluster, rate: float, size: int) -> None:
        self.script = client.register_script(BUCKET)
        self.rate, self.size = rate, size

    def allow(self, user: str, now: float) -> bool:
        allowed, _ = self.script(keys=[f"bucket:{{{user}}}"], args=[self.rate, self.size, now])
        return bool(allowed)


def main() -> None:
    client = RedisCluster.from_url(os.environ["RDC_URL"].split(",")[0], decode_responses=True)
    times = [1000 + i * 0.5 for i in range(24)]
    for limiter in (Windows(client, 5, 4), Sliding(client, 5, 4), Bucket(client, 1.0, 3)):
        for user in ("ann", "bob"):
            allowed = [limiter.allow(user, now) for now in times]
            marks = "".join("x" if each else "." for each in allowed)
            print(f"{type(limiter).__name__:8} {user} {sum(allowed):2} {marks}")
    # The script is loaded again where a server has forgotten it.
    client.script_flush()
    print(Bucket(client, 1.0, 1).allow("eve", 1.0))
    print(sorted(client.keys("limit:{ann}:*")), client.ttl("log:{ann}") > 0)
    client.close()


if __name__ == "__main__":
    main()
