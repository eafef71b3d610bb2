package rediscluster_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// block is the text of the first block of a language in a Markdown file.
func block(t *testing.T, text, language string) string {
	t.Helper()
	_, after, found := strings.Cut(text, "\n```"+language+"\n")
	inside, _, closed := strings.Cut(after, "```\n")
	if !found || !closed {
		t.Fatal("README.md has no block of", language)
	}
	return inside
}

func TestTheProgramOfTheReadmeDoesWhatTheReadmeSays(t *testing.T) {
	text, err := os.ReadFile("README.md")
	must(t, err)
	program := filepath.Join(t.TempDir(), "main.go")
	must(t, os.WriteFile(program, []byte(block(t, string(text), "go")), 0o600))
	rc := connect(t)
	// The program does not wait for replicas, so what it writes is there already.
	_, err = rc.Pipeline().Set("foo16706", "bar").Set("foo81", "foo").Exec(bg)
	must(t, err)
	ctl(t, "wait-sync")
	run := exec.Command("go", "run", program)
	said, err := run.CombinedOutput()
	if want := block(t, string(text), "text"); err != nil || string(said) != want {
		t.Fatalf("%v: it said\n%s\nand not\n%s", err, said, want)
	}
}
