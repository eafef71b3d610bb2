package rediscluster_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	rediscluster "github.com/librediscluster/librediscluster/bindings/go"
)

// A token that expires, and for how long it is valid: fifteen minutes at most managed services.
type token struct {
	password string
	lifetime time.Duration
}

// keepTokenFresh gives the client a new token before the last one expires. makeToken is where the
// library of the service signs one. The program runs this in a goroutine.
func keepTokenFresh(ctx context.Context, rc *rediscluster.Client, user string, makeToken func(context.Context) (token, error)) {
	wait := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		next, err := makeToken(ctx)
		if err == nil {
			err = rc.SetCredentials(user, next.password)
		}
		if err != nil {
			// The last token is valid for a while: there is time for more tries.
			log.Printf("no new token for %s: %v", user, err)
			wait = 10 * time.Second
			continue
		}
		wait = next.lifetime * 3 / 4
	}
}

func ExampleClient_SetCredentials() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	made := make(chan bool, 1)
	makeToken := func(context.Context) (token, error) {
		// Here: sign a request with the library of the service, and use it as the password.
		defer func() { made <- true }()
		return token{"signed by the service", 15 * time.Minute}, nil
	}
	// With a service: the first token as the option "password".
	rc, err := rediscluster.New(os.Getenv("RDC_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer rc.Close()
	go keepTokenFresh(ctx, rc, "default", makeToken)
	<-made
	fmt.Println(rc.Set(ctx, "token:go", "v"))
	// Output: <nil>
}
