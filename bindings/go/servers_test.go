package rediscluster

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// single returns the URL of a single server and the path of its unix socket.
func single(t *testing.T) (string, string) {
	t.Helper()
	url, socket := os.Getenv("RDC_SINGLE_URL"), os.Getenv("RDC_SINGLE_SOCKET")
	if url == "" || socket == "" {
		t.Fatal("RDC_SINGLE_URL is not set, so there is no server to test with: run `make test-go`")
	}
	return url, socket
}

func TestSingleServerAcceptsKeysOfAnySlots(t *testing.T) {
	url, socket := single(t)
	for _, url := range []string{url, "unix://" + socket} {
		rc, err := New(url)
		if err != nil {
			t.Fatal(err)
		}
		defer rc.Close()
		if _, err := rc.Do(context.Background(), "MSET", "go:a", 1, "go:b", 2); err != nil {
			t.Error(url, err)
		}
		counts, err := rc.Pipeline().Do("INCR", "go:a").Do("INCR", "go:b").ExecAtomic(context.Background())
		if err != nil || fmt.Sprint(counts) != "[2 3]" {
			t.Error(url, counts, err)
		}
	}
}

func TestDatabaseIsThatOfURLOrOption(t *testing.T) {
	url, socket := single(t)
	for want, rc := range map[string]func() (*Client, error){
		"3": func() (*Client, error) { return New(url, WithDatabase(3)) },
		"4": func() (*Client, error) { return New(url + "/4") },
		"5": func() (*Client, error) { return New(url+"/1", WithDatabase(5)) },
		"6": func() (*Client, error) { return New("unix://"+socket, WithDatabase(6)) },
	} {
		client, err := rc()
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.Set(context.Background(), "go:where", want); err != nil {
			t.Error(err)
		}
		plain, err := New(url)
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		other, err := plain.With("database", want)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if got, err := other.Get(context.Background(), "go:where"); got != want || err != nil {
			t.Error(want, got, err)
		}
	}
	if _, err := New(url, WithDatabase(99)); err == nil || !strings.Contains(err.Error(), "SELECT 99 (option database)") {
		t.Error(err)
	}
}

func TestSelectIsRefusedAndNamesOption(t *testing.T) {
	url, _ := single(t)
	rc, err := New(url)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	if _, err := rc.Do(context.Background(), "SELECT", 3); err == nil || !strings.Contains(err.Error(), "option database") {
		t.Error(err)
	}
}

func TestLazyClientWaitsForNothing(t *testing.T) {
	rc, err := New("redis://127.0.0.1:1", WithOption("lazy", "yes"), WithTimeout(300*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	if _, err := rc.Get(context.Background(), "go:k"); err == nil {
		t.Error("a server that is not there has answered")
	}
}
