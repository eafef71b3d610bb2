package rediscluster_test

import (
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// blocks returns the code blocks of a language in README.md.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	must(t, err)
	var found []string
	for _, match := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		found = append(found, match[1])
	}
	if len(found) == 0 {
		t.Fatal("README.md has no code block of language", language)
	}
	return found
}

func TestReadmeProgramPrintsDocumentedOutput(t *testing.T) {
	program := filepath.Join(t.TempDir(), "main.go")
	must(t, os.WriteFile(program, []byte(blocks(t, "go")[0]), 0o600))
	rc := connect(t)
	// The program does not wait for replicas, so the test writes its keys first.
	_, err := rc.Pipeline().Set("foo16706", "bar").Set("foo81", "foo").Exec(bg)
	must(t, err)
	ctl(t, "wait-sync")
	run := exec.Command("go", "run", program)
	output, err := run.CombinedOutput()
	if want := blocks(t, "text")[0]; err != nil || string(output) != want {
		t.Fatalf("error %v, output\n%s\nwant\n%s", err, output, want)
	}
}

// fragment is a block of statements: how it begins, what runs before and after it, and what they print
// in addition to the values in the comments of the block.
type fragment struct {
	name, begins, before, after string
	prints                      []string
}

var fragments = []fragment{
	{name: "tls", begins: "rc, err := rediscluster.New(", before: `
		if _, err := rc.DoTo(ctx, "all", "ACL", "SETUSER", "app", "on", ">secret", ">next", "~app:*", "+@all"); err != nil {
			log.Fatal(err)
		}`},
	{name: "pipelines", begins: "replies, err :=", before: `rc.Del(ctx, "visits")
		rc.Set(ctx, "stock", 3)`, after: `fmt.Println(rc.Get(ctx, "stock"))
		rc.Del(ctx, "visits")`, prints: []string{"2 <nil>"}},
	{name: "errors", begins: "_, err := rc.DecrBy(", before: `
		doLater := func(key string, by int) { fmt.Println("later", key, by) }
		lookInto := func(err error) { fmt.Println("look into", err.(*rediscluster.Error).Code) }
		for _, state := range []string{"5", "a text", "closed"} {
			rc.Set(ctx, "account", state)
			if state == "closed" {
				rc.Close()
			}`, after: "}", prints: []string{"look into SERVER", "later account 2"}},
	{name: "shutdown", begins: "stop, cancel :=", before: `rc.RPush(ctx, "jobs", 1)
		go func() {
			for there := 1; there > 0; {
				there, _ = rediscluster.As[int](rc.Do(ctx, "LLEN", "jobs"))
			}
			syscall.Kill(os.Getpid(), syscall.SIGTERM)
		}()`, after: `_, err := rc.Get(ctx, "jobs")
		fmt.Println(errors.Is(err, rediscluster.ErrClosed))`, prints: []string{"job 1", "true"}},
	{name: "messages", begins: "sub := rc.Subscribe(", before: `
		catchUp := func(channel string) { fmt.Println("gap", channel) }
		go func() {
			for there := int64(0); there == 0; {
				there, _ = rc.Publish(ctx, "news", "stop")
			}
		}()`, prints: []string{"news stop"}},
}

// fragmentsProgram is the start of a program that runs the fragment that its argument names.
const fragmentsProgram = `package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
)

func main() {
	rc, err := rediscluster.New(os.Getenv("RDC_URL"), rediscluster.WithOption("tls_ca_file", os.Getenv("CA")))
	if err != nil {
		log.Fatal(err)
	}
	defer rc.Close()
	fragments[os.Args[1]](context.Background(), rc)
}

func secureURL() string {
	return strings.Replace(os.Getenv("RDC_URL"), "//", "//app:secret@", 1) + "?tls_ca_file=" + os.Getenv("CA")
}

var fragments = map[string]func(context.Context, *rediscluster.Client){
`

// fragmentsSource returns a program of all blocks but the first, and what each shall print. The program
// replaces only the address and the path.
func fragmentsSource(t *testing.T) (string, map[string]string) {
	t.Helper()
	texts := blocks(t, "go")[1:]
	same(t, len(texts), len(fragments)) // no block is left out
	address := strings.NewReplacer(`"rediss://app:secret@node1:7000,node2:7000?tls_ca_file=/etc/redis/ca.pem"`, "secureURL()")
	value := regexp.MustCompile(`(?m)^fmt\.Println.*?\) +// ([^;\n]*)`)
	code, want := fragmentsProgram, map[string]string{}
	for i, f := range fragments {
		text := texts[i]
		if formatted, err := format.Source([]byte(text)); !strings.HasPrefix(text, f.begins) || err != nil || string(formatted) != text {
			t.Fatalf("%s: error %v, not formatted or not in this order:\n%s", f.name, err, text)
		}
		for _, match := range value.FindAllStringSubmatch(text, -1) {
			want[f.name] += match[1] + "\n"
		}
		for _, line := range f.prints {
			want[f.name] += line + "\n"
		}
		code += fmt.Sprintf("%q: func(ctx context.Context, rc *rediscluster.Client) {\n%s\n%s\n%s\n},\n",
			f.name, f.before, address.Replace(text), f.after)
	}
	return code + "}\n", want
}

// withTLS runs a program in a cluster with TLS.
func withTLS(t *testing.T, folder, program, name string) *exec.Cmd {
	t.Helper()
	output, err := exec.Command("sh", "../examples/certificates.sh", folder).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	file := func(name string) string { return filepath.Join(folder, name) }
	run := exec.Command(os.Getenv("RDC_CLUSTER"), "run", "--tls", file("node.pem"), file("node.key"), file("ca.pem"), "--", program, name)
	run.Env = append(os.Environ(), "CA="+file("ca.pem"))
	return run
}

func TestReadmeFragmentsPrintDocumentedValues(t *testing.T) {
	code, want := fragmentsSource(t)
	folder := t.TempDir()
	source, program := filepath.Join(folder, "main.go"), filepath.Join(folder, "program")
	must(t, os.WriteFile(source, []byte(code), 0o600))
	if output, err := exec.Command("go", "build", "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for name, lines := range want {
		run := exec.Command(program, name)
		if name == "tls" {
			run = withTLS(t, folder, program, name)
		}
		if output, err := run.CombinedOutput(); err != nil || string(output) != lines {
			t.Errorf("%s: error %v, output\n%s\nwant\n%s", name, err, output, lines)
		}
	}
}
