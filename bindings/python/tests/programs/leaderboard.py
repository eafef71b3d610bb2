"""Leaderboards: scores by day and game, ranks with neighbours, the best of several days, and pages of
all boards."""

from __future__ import annotations

import os
import random

from redis.cluster import RedisCluster


class Leaderboard:
    def __init__(self, client: RedisCluster, game: str) -> None:
        self.client, self.game = client, game

    def key(self, day: str) -> str:
        # The boards of a game are in one slot, so that they can be combined.
        return f"board:{{{self.game}}}:{day}"

    def add(self, day: str, player: str, points: int) -> float:
        return float(self.client.zincrby(self.key(day), points, player))

    def submit(self, day: str, scores: dict[str, int]) -> int:
        """Sets scores that are better than the stored ones; returns how many have changed."""
        return int(self.client.zadd(self.key(day), scores, gt=True, ch=True))

    def top(self, day: str, count: int) -> list[tuple[str, float]]:
        found = self.client.zrange(self.key(day), 0, count - 1, desc=True, withscores=True)
        return [(player, score) for player, score in found]

    def around(self, day: str, player: str, distance: int) -> list[tuple[int, str]]:
        rank = self.client.zrevrank(self.key(day), player)
        if rank is None:
            return []
        first = max(0, rank - distance)
        players = self.client.zrevrange(self.key(day), first, rank + distance)
        return [(first + i + 1, each) for i, each in enumerate(players)]

    def combine(self, days: list[str], name: str) -> int:
        with self.client.pipeline(transaction=True) as pipe:
            pipe.zunionstore(self.key(name), [self.key(day) for day in days], aggregate="MAX")
            pipe.expire(self.key(name), 3600)
            count, _ = pipe.execute()
        return int(count)

    def percentile(self, day: str, player: str) -> float:
        with self.client.pipeline() as pipe:
            rank, total = pipe.zrank(self.key(day), player).zcard(self.key(day)).execute()
        return round(100 * (rank + 1) / total, 1)


def main() -> None:
    client = RedisCluster.from_url(os.environ["RDC_URL"].split(",")[0], decode_responses=True)
    dice = random.Random(7)
    boards = {game: Leaderboard(client, game) for game in ("chess", "go")}
    for board in boards.values():
        for day in ("mon", "tue"):
            with client.pipeline() as pipe:
                for number in range(40):
                    pipe.zadd(board.key(day), {f"player{number:02}": dice.randrange(1000)})
                pipe.execute()
    chess = boards["chess"]
    print("top", chess.top("mon", 3))
    print("add", chess.add("mon", "player00", 2000), chess.top("mon", 1))
    print("better", chess.submit("mon", {"player00": 5, "player01": 5000, "new": 1}))
    print("around", chess.around("mon", "player10", 2), chess.around("mon", "nobody", 2))
    print("combined", chess.combine(["mon", "tue"], "week"), chess.top("week", 3))
    print("percentile", chess.percentile("week", "player01"), chess.percentile("week", "new"))
    low = client.zrangebyscore(chess.key("mon"), "-inf", 200, start=0, num=4, withscores=True)
    print("low", [tuple(each) for each in low])
    print("pages", sum(1 for _ in client.zscan_iter(chess.key("mon"))))
    print("boards", sorted(client.scan_iter("board:*")))
    print("removed", client.zremrangebyrank(chess.key("mon"), 0, 9), client.zcard(chess.key("mon")))
    client.delete(*client.scan_iter("board:*"))
    client.close()


if __name__ == "__main__":
    main()
