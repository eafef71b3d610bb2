package rediscluster_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// block returns the first code block of a language in a Markdown text.
func block(t *testing.T, text, language string) string {
	t.Helper()
	_, after, found := strings.Cut(text, "\n```"+language+"\n")
	inside, _, closed := strings.Cut(after, "```\n")
	if !found || !closed {
		t.Fatal("README.md has no code block of language", language)
	}
	return inside
}

func TestReadmeProgramPrintsDocumentedOutput(t *testing.T) {
	text, err := os.ReadFile("README.md")
	must(t, err)
	program := filepath.Join(t.TempDir(), "main.go")
	must(t, os.WriteFile(program, []byte(block(t, string(text), "go")), 0o600))
	rc := connect(t)
	// The program does not wait for replicas, so the test writes its keys first.
	_, err = rc.Pipeline().Set("foo16706", "bar").Set("foo81", "foo").Exec(bg)
	must(t, err)
	ctl(t, "wait-sync")
	run := exec.Command("go", "run", program)
	output, err := run.CombinedOutput()
	if want := block(t, string(text), "text"); err != nil || string(output) != want {
		t.Fatalf("error %v, output\n%s\nwant\n%s", err, output, want)
	}
}
