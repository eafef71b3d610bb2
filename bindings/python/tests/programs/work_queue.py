"""A work queue with streams and a consumer group, in asyncio: producers, workers, retries of jobs whose
worker has died, and a list of failures."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from redis.asyncio import RedisCluster
from redis.exceptions import ResponseError, WatchError

STREAM, GROUP, FAILED = "{jobs}:stream", "workers", "{jobs}:failed"


async def create(client: RedisCluster) -> None:
    try:
        await client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


async def produce(client: RedisCluster, count: int) -> None:
    async with client.pipeline() as pipe:
        for number in range(count):
            pipe.xadd(STREAM, {"number": number})
        await pipe.execute()


async def handle(client: RedisCluster, job: str, fields: dict[str, Any]) -> None:
    number = int(fields["number"])
    if number % 10 == 7:
        await client.rpush(FAILED, number)
    else:
        await client.incrby("{jobs}:sum", number)
    await client.xack(STREAM, GROUP, job)


async def work(client: RedisCluster, name: str) -> int:
    """Runs jobs until there are none. The worker "dies" leaves its first job."""
    done = 0
    while True:
        found = await client.xreadgroup(GROUP, name, {STREAM: ">"}, count=5, block=200)
        if not found:
            return done
        for _, entries in found:
            for job, fields in entries:
                if name == "dies":
                    return done
                await handle(client, job, fields)
                done += 1


async def take_over(client: RedisCluster) -> int:
    """Runs the jobs whose worker did not acknowledge them."""
    pending = await client.xpending_range(STREAM, GROUP, min="-", max="+", count=100)
    jobs = [each["message_id"] for each in pending]
    if not jobs:
        return 0
    for job, fields in await client.xclaim(STREAM, GROUP, "rescue", 0, jobs):
        await handle(client, job, fields)
    return len(jobs)


async def count_failures(client: RedisCluster) -> int:
    """Moves the number of failures to a counter, with optimistic locking."""
    async with client.pipeline(transaction=True) as pipe:
        while True:
            try:
                await pipe.watch(FAILED)
                failures = int(await client.llen(FAILED))
                pipe.multi()
                pipe.incrby("{jobs}:failures", failures)
                pipe.delete(FAILED)
                await pipe.execute()
                return failures
            except WatchError:
                continue


async def main() -> None:
    client = RedisCluster.from_url(os.environ["RDC_URL"].split(",")[0], decode_responses=True)
    async with client:
        await create(client)
        await create(client)
        await produce(client, 50)
        assert await work(client, "dies") == 0
        done = await asyncio.gather(*(work(client, f"worker{i}") for i in range(3)))
        print("done", sum(done), "taken over", await take_over(client))
        print("sum", await client.get("{jobs}:sum"))
        print("failures", await count_failures(client), await client.get("{jobs}:failures"))
        info = await client.xinfo_groups(STREAM)
        print(info[0]["name"], "pending", info[0]["pending"], "jobs", await client.xlen(STREAM))


if __name__ == "__main__":
    asyncio.run(main())
