"""Many tasks share one client: producers and consumers of lists, with time limits.

python asyncio_tasks.py redis://127.0.0.1:7000        (or the URL in RDC_URL)
"""

from __future__ import annotations

import asyncio
import os
import sys

from rediscluster.asyncio import RedisCluster, RedisError

QUEUES = [f"jobs:{{{i}}}" for i in range(4)]  # one slot each


async def produce(rc: RedisCluster, queue: str) -> None:
    async with rc.pipeline() as pipe:
        for number in range(25):
            pipe.rpush(queue, number)
        await pipe.execute()


async def consume(rc: RedisCluster, queue: str) -> int:
    """Adds up the jobs of a queue, until there is none for 0.2 seconds. The server keeps this time:
    a command that is cancelled here may have taken a job, which is then lost."""
    total = 0
    while found := await rc.blpop(queue, timeout=0.2):  # other tasks run meanwhile
        _, job = found
        total += int(job)
        await rc.incrby("{jobs}:total", int(job))
    return total


async def main(url: str) -> None:
    async with RedisCluster.from_url(url, decode_responses=True) as rc:
        await rc.delete("{jobs}:total", *QUEUES)
        consumers = [asyncio.create_task(consume(rc, queue)) for queue in QUEUES]
        await asyncio.gather(*(produce(rc, queue) for queue in QUEUES))
        print(*await asyncio.wait_for(asyncio.gather(*consumers), 30))
        print(await rc.get("{jobs}:total"))
        # What goes wrong is an exception of its task alone.
        results = await asyncio.gather(
            rc.incr("{jobs}:total"), rc.lpush("{jobs}:total", 1), return_exceptions=True
        )
        print(*(type(each).__name__ if isinstance(each, RedisError) else each for each in results))
        print([key async for key in rc.scan_iter("{jobs}:*")])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else os.environ["RDC_URL"]))
