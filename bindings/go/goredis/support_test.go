package goredis_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
	"github.com/librediscluster/librediscluster/bindings/go/goredis"
	"github.com/redis/go-redis/v9"
)

var bg = context.Background()

func TestMain(m *testing.M) {
	if os.Getenv("RDC_URL") == "" {
		fmt.Fprintln(os.Stderr, "RDC_URL is not set, so there is no cluster to test with: run `make test-go` in the root of the repository")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func connect(t testing.TB, opts ...rediscluster.Option) *goredis.ClusterClient {
	t.Helper()
	rdb, err := goredis.New(os.Getenv("RDC_URL"), opts...)
	must(t, err)
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// addresses returns the seeds of the test cluster.
func addresses(t testing.TB) []string {
	t.Helper()
	parsed, err := url.Parse(os.Getenv("RDC_URL"))
	must(t, err)
	return strings.Split(parsed.Host, ",")
}

// original returns the cluster client of go-redis.
func original(t testing.TB) *redis.ClusterClient {
	t.Helper()
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses(t)})
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// ctl runs a control command of the test cluster.
func ctl(t testing.TB, args ...string) string {
	t.Helper()
	output, err := exec.Command(os.Getenv("RDC_CLUSTER"), append([]string{"ctl"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("cluster ctl %v: %v: %s", args, err, output)
	}
	return strings.TrimSpace(string(output))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same(t testing.TB, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(bg, d)
	t.Cleanup(cancel)
	return ctx
}
