// Sessions is a store for the sessions of web users: a hash for each, with a time to live that each request
// renews, the sessions of a user, and a channel that tells other processes of logouts.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

type session struct {
	User  string `redis:"user"`
	Admin bool   `redis:"admin"`
	Hits  int    `redis:"hits"`
}

type store struct {
	rdb *redis.ClusterClient
	ttl time.Duration
}

var errExpired = errors.New("the session has expired")

func key(id string) string { return "session:{" + id + "}" }

// create stores a session, and adds it to those of its user. The two keys are in different slots.
func (s *store) create(ctx context.Context, id string, data session) error {
	_, err := s.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.HSet(ctx, key(id), data)
		pipe.Expire(ctx, key(id), s.ttl)
		pipe.SAdd(ctx, "sessions:of:"+data.User, id)
		return nil
	})
	return err
}

// touch reads a session and renews it.
func (s *store) touch(ctx context.Context, id string) (session, error) {
	var data session
	var all *redis.MapStringStringCmd
	_, err := s.rdb.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		all = pipe.HGetAll(ctx, key(id))
		pipe.Expire(ctx, key(id), s.ttl)
		return nil
	})
	if err != nil {
		return data, err
	}
	if len(all.Val()) == 0 {
		return data, errExpired
	}
	if err := s.rdb.HIncrBy(ctx, key(id), "hits", 1).Err(); err != nil {
		return data, err
	}
	return data, all.Scan(&data)
}

// logout ends all sessions of a user, and tells who listens.
func (s *store) logout(ctx context.Context, user string) (int, error) {
	ids, err := s.rdb.SMembers(ctx, "sessions:of:"+user).Result()
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		if err := s.rdb.Unlink(ctx, key(id)).Err(); err != nil {
			return 0, err
		}
	}
	if err := s.rdb.Del(ctx, "sessions:of:"+user).Err(); err != nil {
		return 0, err
	}
	return len(ids), s.rdb.Publish(ctx, "logouts", user).Err()
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: strings.Split(os.Getenv("ADDRS"), ",")})
	defer rdb.Close()
	s := &store{rdb, 100 * time.Second}
	rdb.Del(ctx, "sessions:of:ada")
	logouts := rdb.Subscribe(ctx, "logouts")
	defer logouts.Close()
	if _, err := logouts.Receive(ctx); err != nil {
		log.Fatal(err)
	}
	for _, id := range []string{"a1", "b2", "c3"} {
		if err := s.create(ctx, id, session{User: "ada", Admin: id == "a1"}); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(s.touch(ctx, "a1"))
	fmt.Println(s.touch(ctx, "a1"))
	fmt.Println(rdb.TTL(ctx, key("a1")).Val() > 90*time.Second, rdb.HMGet(ctx, key("b2"), "user", "none").Val())
	fmt.Println(s.logout(ctx, "ada"))
	select {
	case message := <-logouts.Channel():
		fmt.Println("logged out:", message.Payload)
	case <-ctx.Done():
		log.Fatal(ctx.Err())
	}
	fmt.Println(s.touch(ctx, "a1"))
}
