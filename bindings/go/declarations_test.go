package rediscluster

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The compiler compares the functions with the header; this compares the lists.
func TestEveryKindAndCodeOfTheHeaderIsHere(t *testing.T) {
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
			if said := Code(n).Error(); said != strings.TrimPrefix(name, "ERR_") {
				t.Errorf("code %d is %s in the header and %s in the library", n, name, said)
			}
			if n > int(ErrTLS) {
				t.Errorf("%s is not in native.go", name)
			}
		default:
			kinds++
			if said := Kind(n).String(); said != name {
				t.Errorf("kind %d is %s in the header and %s here", n, name, said)
			}
		}
	}
	if codes != int(ErrTLS) || kinds != len(kindNames) {
		t.Errorf("%d codes and %d kinds", codes, kinds)
	}
}

func TestTimeoutsAreRoundedUpAndFew(t *testing.T) {
	for ms, want := range map[int64]int64{1: 1, 99: 99, 100: 100, 127: 127, 128: 128, 129: 130, 1000: 1000, 1001: 1008, 5000: 5056, 1 << 40: 86400000} {
		if got := roundTimeout(time.Duration(ms) * time.Millisecond); ms < 1<<40 && got != want {
			t.Errorf("%d became %d, not %d", ms, got, want)
		}
	}
	if got := roundTimeout(-time.Second); got != 1 {
		t.Error("a deadline that has passed:", got)
	}
	if got := roundTimeout(1000 * time.Hour); got != 86400000 {
		t.Error("a very long one:", got)
	}
}

func TestHandlesForOddDeadlinesDoNotPileUp(t *testing.T) {
	rc, err := New(os.Getenv("RDC_URL"))
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	for ms := int64(1); ms < 500; ms++ {
		twin := rc.twins.take(rc.handle, ms)
		rc.twins.give(twin, ms)
	}
	if len(rc.twins.all) > maxIdleTwins || rc.twins.spare > maxIdleTwins {
		t.Errorf("%d handles, %d idle", len(rc.twins.all), rc.twins.spare)
	}
}

func TestTheLibrarySaysWhatFerriesListenFor(t *testing.T) {
	source, err := os.ReadFile("../../src/cluster/exchange/judge.rs")
	if err != nil {
		t.Skip("not in the source tree")
	}
	for _, words := range outOfTurnWords {
		if !strings.Contains(string(source), words) {
			t.Errorf("%q", words)
		}
	}
	if outOfTurn(&Error{Message: "IO the connection broke"}) {
		t.Error("any other error is delivered")
	}
}
