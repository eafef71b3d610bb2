"""One program for every kind of server: only the URL differs.

python anywhere.py redis://127.0.0.1:7000        (or the URL in RDC_URL)
python anywhere.py unix:///run/redis.sock        (docs/endpoints.md has more)
"""

import os
import sys

from rediscluster import RedisCluster

url = sys.argv[1] if len(sys.argv) > 1 else os.environ["RDC_URL"]
with RedisCluster.from_url(url, decode_responses=True, read_your_writes=True) as client:
    # Keys with the same text in braces are in the same slot of a cluster.
    if client.mset({"{fruit}:apples": 3, "{fruit}:pears": 4}):
        print("OK")
    transaction = client.pipeline(transaction=True)
    print(*transaction.incrby("{fruit}:apples", 2).decrby("{fruit}:pears", 1).execute())
    pipeline = client.pipeline().set("anywhere:a", "one").set("anywhere:b", "two")
    print(*pipeline.get("anywhere:a").get("anywhere:b").execute()[2:])
    # Reads from replicas that have what this program has written.
    readonly = client.with_options(readonly=True)
    print(readonly.get("{fruit}:apples"))
