"""Clients written in Python, or used from it: redis-py, valkey-glide-sync and our own binding.

    peers.py redis-py|glide|rediscluster HOST:PORT,HOST:PORT,...

Obeys the same lines as worker.c, which says what they are.
"""

import os
import resource
import sys
import time

KEYS, VALUE, MANY, ELEMENTS, BIG = 100_000, b"0123456789abcdef", 100, 10_000, 10 * 1024 * 1024
NAMES = [f"key:{i}" for i in range(KEYS)]


class Unsupported(Exception):
    pass


class RedisPy:
    def __init__(self, seeds, from_replicas, patience):
        from redis.backoff import NoBackoff
        from redis.cluster import ClusterNode, LoadBalancingStrategy, RedisCluster
        from redis.retry import Retry

        nodes = [ClusterNode(host, int(port)) for host, port in seeds]
        balance = LoadBalancingStrategy.RANDOM_REPLICA if from_replicas else None
        self.client = RedisCluster(
            startup_nodes=nodes,
            load_balancing_strategy=balance,
            socket_timeout=patience,
            socket_connect_timeout=patience,
            retry=Retry(NoBackoff(), 3),
        )
        self.get, self.set, self.big = self.client.get, self.client.set, self.client.get

    def pipeline(self, names):
        pipe = self.client.pipeline()
        for name in names:
            pipe.get(name)
        return pipe.execute()

    def mget(self, names):
        return self.client.mget_nonatomic(names)

    def lrange(self, name):
        return self.client.lrange(name, 0, -1)

    def hgetall(self, name):
        return self.client.hgetall(name)

    def close(self):
        self.client.close()


class Glide:
    def __init__(self, seeds, from_replicas, patience):
        import glide_sync as glide

        self.batch = glide.ClusterBatch
        reads = glide.ReadFrom.PREFER_REPLICA if from_replicas else glide.ReadFrom.PRIMARY
        self.client = glide.GlideClusterClient.create(
            glide.GlideClusterClientConfiguration(
                addresses=[glide.NodeAddress(host, int(port)) for host, port in seeds],
                read_from=reads,
                request_timeout=int(patience * 1000),
            )
        )
        self.get, self.big = self.client.get, self.client.get
        self.mget, self.hgetall = self.client.mget, self.client.hgetall

    def set(self, name, value):
        return self.client.set(name, value) == "OK"

    def pipeline(self, names):
        batch = self.batch(is_atomic=False)
        for name in names:
            batch.get(name)
        return self.client.exec(batch, raise_on_error=True)

    def lrange(self, name):
        return self.client.lrange(name, 0, -1)

    def close(self):
        self.client.close()


class Ours:
    def __init__(self, seeds, from_replicas, patience):
        import rediscluster

        hosts = ",".join(f"{host}:{port}" for host, port in seeds)
        reads = "replica" if from_replicas else "primary"
        query = f"timeout_ms={int(patience * 1000)}&retry_writes=yes&read_from={reads}"
        self.client = rediscluster.RedisCluster.from_url(f"redis://{hosts}?{query}")
        self.get, self.set, self.big = self.client.get, self.client.set, self.client.get
        self.hgetall = self.client.hgetall

    def pipeline(self, names):
        pipe = self.client.pipeline()
        for name in names:
            pipe.get(name)
        return pipe.execute()

    def mget(self, names):
        return self.client.mget(*names)

    def lrange(self, name):
        return self.client.lrange(name, 0, -1)

    def close(self):
        self.client.close()


PEERS = {"redis-py": RedisPy, "glide": Glide, "rediscluster": Ours}


def expect(right, what):
    if not right:
        raise ValueError(f"{what}: not as it was loaded")


class Keys:
    def __init__(self):
        self.at = 0

    def some(self, count):
        return [self.one() for _ in range(count)]

    def one(self):
        self.at = (self.at + 7919) % KEYS
        return NAMES[self.at]


def cpu_ns():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int((usage.ru_utime + usage.ru_stime) * 1e9)


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


class Worker:
    def __init__(self, peer, seeds):
        self.peer, self.seeds = peer, [tuple(seed.rsplit(":", 1)) for seed in seeds.split(",")]
        self.clients = {}

    def open(self, from_replicas=False, patience=5.0):
        return self.peer(self.seeds, from_replicas, patience)

    def client(self, from_replicas=False):
        if from_replicas not in self.clients:
            self.clients[from_replicas] = self.open(from_replicas)
        return self.clients[from_replicas]

    def turn(self, name, arg):
        keys = Keys()
        client = None if name == "create" else self.client(name == "replica")

        def get():
            expect(client.get(keys.one()) == VALUE, "GET")

        def put():
            expect(client.set(keys.one(), VALUE), "SET")

        def pipeline():
            expect(client.pipeline(keys.some(arg)) == [VALUE] * arg, "pipeline")

        def mget():
            expect(client.mget(keys.some(MANY)) == [VALUE] * MANY, "MGET")

        def lrange():
            reply = client.lrange("biglist")
            expect(len(reply) == ELEMENTS and all(len(e) == len(VALUE) for e in reply), "LRANGE")

        def hgetall():
            reply = client.hgetall("bighash")
            right = all(len(f) == len(v) == len(VALUE) for f, v in reply.items())
            expect(len(reply) == ELEMENTS and right, "HGETALL")

        def big():
            expect(len(client.big("bigstr")) == BIG, "GET bigstr")

        def create():
            client = self.open()
            expect(client.get(keys.one()) == VALUE, "GET")
            client.close()

        turns = {
            "get": get, "replica": get, "set": put, "pipeline": pipeline, "mget": mget,
            "lrange": lrange, "hgetall": hgetall, "big": big, "create": create,
        }  # fmt: skip
        if name not in turns:
            raise Unsupported
        return turns[name]

    def measure(self, name, budget, arg):
        once = self.turn(name, arg)
        once()
        turns, cpu, began = [], cpu_ns(), time.monotonic_ns()
        at = began
        while at - began < budget:
            once()
            then = time.monotonic_ns()
            turns.append(then - at)
            at = then
        used = cpu_ns() - cpu
        operations = len(turns) * (arg if name == "pipeline" else 1)
        turns.sort()
        p50, p99 = turns[len(turns) // 2], turns[len(turns) - 1 - len(turns) // 100]
        return f"ok {operations} {at - began} {used} {p50} {p99}"

    def memory(self, count):
        kept, keys, before = [], Keys(), 0
        for i in range(count + 10):
            if i == 10:
                before = resident()
            client = self.open()
            for _ in range(20):
                expect(client.get(keys.one()) == VALUE, "GET")
            kept.append(client)
        return f"ok {(resident() - before) // count}"

    def recovery(self, budget, key):
        client = self.open(patience=30.0)
        expect(client.set(NAMES[key], VALUE), "SET")
        writes, failed = 0, 0
        began = good = start = end = time.monotonic_ns()
        while time.monotonic_ns() - began < budget:
            writes += 1
            try:
                client.set(NAMES[key], VALUE)
                at = time.monotonic_ns()
                if at - good > end - start:
                    start, end = good, at
                good = at
            except Exception:  # whatever it is that a client calls an error
                failed += 1
            time.sleep(0.001)
        if time.monotonic_ns() - good > end - start:
            return f"never recovered, {failed} of {writes} writes failed"
        return f"ok {writes} {failed} {start} {end}"

    def obey(self, name, budget, arg):
        if name == "memory":
            return self.memory(arg)
        if name == "recovery":
            return self.recovery(budget, arg)
        return self.measure(name, budget, arg)


def main():
    # Some clients write their log to the standard output, which is for answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(PEERS[sys.argv[1]], sys.argv[2])
    for line in sys.stdin:
        name, budget_ms, arg = line.split()
        try:
            answer = worker.obey(name, int(budget_ms) * 1_000_000, int(arg))
        except Unsupported:
            answer = "unsupported"
        except Exception as error:  # the reason goes to whoever asked
            answer = " ".join(f"{type(error).__name__}: {error}".split())
        print(answer, file=answers, flush=True)


main()
