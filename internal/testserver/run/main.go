// Command run starts a PostgreSQL for tests that are not written in Go. It prints the URL of an empty database, and stops the server when its
// input ends, as it does when whoever has started it dies.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/errandhq/errand/internal/testserver"
)

func main() {
	log.SetFlags(0)
	p, err := testserver.StartPostgres(context.Background(), nil)
	if err != nil {
		log.Fatal(err)
	}
	if err = p.CreateDatabase("test"); err == nil {
		fmt.Println(p.URL("test"))
		_, err = io.Copy(io.Discard, os.Stdin)
	}
	if closing := p.Close(); err == nil {
		err = closing
	}
	if err != nil {
		log.Fatal(err)
	}
}
