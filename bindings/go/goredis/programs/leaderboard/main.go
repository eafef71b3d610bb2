// Leaderboard keeps the scores of players: updates in pipelines, pages, a player's surroundings, and a weekly
// board that is merged into the one of all time.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/redis/go-redis/v9"
)

type board struct {
	rdb *redis.ClusterClient
	key string
}

type entry struct {
	Rank   int64
	Player string
	Score  float64
}

// add adds to the scores of players.
func (b *board) add(ctx context.Context, points map[string]float64) error {
	_, err := b.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for player, n := range points {
			pipe.ZIncrBy(ctx, b.key, n, player)
		}
		return nil
	})
	return err
}

// top returns a page of the best players.
func (b *board) top(ctx context.Context, offset, count int64) ([]entry, error) {
	players, err := b.rdb.ZRevRangeWithScores(ctx, b.key, offset, offset+count-1).Result()
	return entries(players, offset), err
}

// around returns a player and the ones next to it.
func (b *board) around(ctx context.Context, player string, distance int64) ([]entry, error) {
	rank, err := b.rdb.ZRevRank(ctx, b.key, player).Result()
	if errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("%s has not played", player)
	}
	if err != nil {
		return nil, err
	}
	first := rank - distance
	if first < 0 {
		first = 0
	}
	return b.top(ctx, first, rank+distance-first+1)
}

func entries(players []redis.Z, offset int64) []entry {
	list := make([]entry, len(players))
	for i, z := range players {
		list[i] = entry{Rank: offset + int64(i) + 1, Player: z.Member.(string), Score: z.Score}
	}
	return list
}

// finish merges the week into the board of all time, and begins a new week.
func finish(ctx context.Context, week, ever *board) error {
	_, err := week.rdb.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.ZUnionStore(ctx, ever.key, &redis.ZStore{Keys: []string{ever.key, week.key}, Weights: []float64{1, 2}})
		pipe.Del(ctx, week.key)
		return nil
	})
	return err
}

func main() {
	ctx := context.Background()
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: strings.Split(os.Getenv("ADDRS"), ",")})
	defer rdb.Close()
	week, ever := &board{rdb, "{chess}:week"}, &board{rdb, "{chess}:ever"}
	rdb.Del(ctx, week.key, ever.key)
	points := map[string]float64{}
	for i := 0; i < 50; i++ {
		points[fmt.Sprintf("player %02d", i)] = float64(i) * 1.5
	}
	for round := 0; round < 2; round++ {
		if err := week.add(ctx, points); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(week.top(ctx, 0, 3))
	fmt.Println(week.around(ctx, "player 20", 1))
	fmt.Println(week.around(ctx, "player 49", 1))
	fmt.Println(week.around(ctx, "nobody", 1))
	fmt.Println(rdb.ZCount(ctx, week.key, "(100", "+inf").Result())
	fmt.Println(rdb.ZMScore(ctx, week.key, "player 01", "player 02").Result())
	if err := finish(ctx, week, ever); err != nil {
		log.Fatal(err)
	}
	fmt.Println(ever.top(ctx, 0, 2))
	fmt.Println(week.top(ctx, 0, 2))
	var best []string
	each := rdb.ZScan(ctx, ever.key, 0, "player 4*", 100).Iterator()
	for each.Next(ctx) {
		best = append(best, each.Val())
	}
	fmt.Println(len(best)/2, each.Err())
}
