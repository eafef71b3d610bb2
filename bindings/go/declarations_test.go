package rediscluster

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The compiler checks the functions against the header; this test checks the lists of constants.
func TestKindsAndCodesMatchHeader(t *testing.T) {
	header, err := os.ReadFile("../../include/rediscluster.h")
	if err != nil {
		t.Skip("not in the source tree")
	}
	number := regexp.MustCompile(`(?m)^#define RDC_([A-Z_]+) (\d+)$`)
	codes, kinds := 0, 0
	for _, found := range number.FindAllStringSubmatch(string(header), -1) {
		name := found[1]
		n, err := strconv.Atoi(found[2])
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case name == "OK" || strings.HasPrefix(name, "VERSION") || strings.HasPrefix(name, "LOG_"):
		case strings.HasPrefix(name, "ERR_"):
			codes++
			if got := Code(n).Error(); got != strings.TrimPrefix(name, "ERR_") {
				t.Errorf("code %d is %s in the header and %s in the library", n, name, got)
			}
			if n > int(ErrQueueFull) {
				t.Errorf("%s is not in native.go", name)
			}
		default:
			kinds++
			if got := Kind(n).String(); got != name {
				t.Errorf("kind %d is %s in the header and %s in native.go", n, name, got)
			}
		}
	}
	if codes != int(ErrQueueFull) || kinds != len(kindNames) {
		t.Errorf("%d codes and %d kinds", codes, kinds)
	}
}

func TestRoundTimeoutRoundsUpToFewValues(t *testing.T) {
	for ms, want := range map[int64]int64{1: 1, 99: 99, 100: 100, 127: 127, 128: 128, 129: 130, 1000: 1000, 1001: 1008, 5000: 5056, 1 << 40: 86400000} {
		if got := roundTimeout(time.Duration(ms) * time.Millisecond); ms < 1<<40 && got != want {
			t.Errorf("roundTimeout(%d ms): got %d, want %d", ms, got, want)
		}
	}
	if got := roundTimeout(-time.Second); got != 1 {
		t.Error("roundTimeout(-1 s): got", got)
	}
	if got := roundTimeout(1000 * time.Hour); got != 86400000 {
		t.Error("roundTimeout(1000 h): got", got)
	}
}

func TestDeadlineHandlesAreBounded(t *testing.T) {
	rc, err := New(os.Getenv("RDC_URL"))
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	for ms := int64(1); ms < 500; ms++ {
		h := rc.deadlineHandles.acquire(rc.handle, ms)
		rc.deadlineHandles.release(h, ms)
	}
	if pool := &rc.deadlineHandles; len(pool.all) > maxIdleHandles || pool.idleCount > maxIdleHandles {
		t.Errorf("%d handles, %d of them idle", len(pool.all), pool.idleCount)
	}
}

func TestOrderRefusalTextsAreInLibrarySources(t *testing.T) {
	const root = "../../src"
	if _, err := os.Stat(root); err != nil {
		t.Skip("not in the source tree")
	}
	found := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".rs" {
			return err
		}
		source, err := os.ReadFile(path)
		for _, text := range orderRefusals {
			found[text] = found[text] || strings.Contains(string(source), text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range orderRefusals {
		if !found[text] {
			t.Errorf("no source file has the message part %q", text)
		}
	}
	if refusedForOrder(&Error{Message: "IO the connection broke"}) {
		t.Error("an IO error is not a refusal for order")
	}
}
