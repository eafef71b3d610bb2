// Package programs tests five programs that were written for redis.ClusterClient. Each is run as it is, and then
// with the two names changed that make it one for goredis: both must print the same.
package programs

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// port changes the import and the construction of a program, and nothing else.
var port = strings.NewReplacer(
	`	"github.com/redis/go-redis/v9"`, `	"github.com/librediscluster/librediscluster/bindings/go/goredis"
	"github.com/redis/go-redis/v9"`,
	"redis.NewClusterClient(", "goredis.NewClusterClient(",
	"*redis.ClusterClient", "*goredis.ClusterClient",
)

func TestProgramsPrintTheSameWithBothClients(t *testing.T) {
	sources, err := filepath.Glob("*/main.go")
	if err != nil || len(sources) != 5 {
		t.Fatal(sources, err)
	}
	cluster, err := url.Parse(os.Getenv("RDC_URL"))
	if err != nil || cluster.Host == "" {
		t.Fatal("RDC_URL is not set, so there is no cluster to test with: run `make test-go`")
	}
	// The ported programs are compiled in this module, so that its go.mod counts.
	ported, err := os.MkdirTemp(".", "ported")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(ported)
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		folder := filepath.Join(ported, filepath.Dir(source))
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, "main.go"), []byte(port.Replace(string(text))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	outputs := map[string]string{}
	for _, folder := range []string{".", ported} {
		programs := t.TempDir()
		if output, err := exec.Command("go", "build", "-ldflags", "-s -w", "-o", programs, "./"+folder+"/...").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, output)
		}
		for _, source := range sources {
			name := filepath.Dir(source)
			run := exec.Command(filepath.Join(programs, name))
			run.Env = append(os.Environ(), "ADDRS="+cluster.Host)
			output, err := run.CombinedOutput()
			if err != nil {
				t.Errorf("%s of %s: %v", name, folder, err)
			}
			if before, ok := outputs[name]; ok && before != string(output) {
				t.Errorf("%s prints\n%s\nwith goredis instead of\n%s", name, output, before)
			}
			outputs[name] = string(output)
		}
	}
	for name, output := range outputs {
		t.Logf("%s:\n%s", name, output)
	}
}
