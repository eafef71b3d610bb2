//go:build go1.23

package rediscluster_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"sort"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
)

func ExampleClient_ScanKeys() {
	ctx := context.Background()
	rc, err := rediscluster.New(os.Getenv("RDC_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer rc.Close()
	if _, err := rc.Pipeline().Set("planet:venus", 2).Set("planet:mars", 4).Exec(ctx); err != nil {
		log.Fatal(err)
	}
	var planets []string
	for key, err := range rc.ScanKeys(ctx, "planet:*") {
		if err != nil {
			log.Fatal(err)
		}
		planets = append(planets, key)
	}
	sort.Strings(planets)
	fmt.Println(planets)
	// Output: [planet:mars planet:venus]
}

func ExampleSetLogger() {
	rediscluster.SetLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	defer rediscluster.SetLogger(nil)
	rc, err := rediscluster.New(os.Getenv("RDC_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer rc.Close()
	fmt.Println(rc.Ping(context.Background()))
	// Output: PONG <nil>
}
