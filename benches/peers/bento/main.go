// Bento with the parts that bento.yaml beside it uses, for `make bench-peers`.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"

	_ "github.com/warpstreamlabs/bento/public/components/io"
	_ "github.com/warpstreamlabs/bento/public/components/kafka"
	_ "github.com/warpstreamlabs/bento/public/components/pure"
	"github.com/warpstreamlabs/bento/public/service"
)

func main() {
	inFlight, err := strconv.Atoi(os.Getenv("IN_FLIGHT"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "IN_FLIGHT must be a number of requests:", err)
		os.Exit(1)
	}
	// Bento uses this transport and has no setting for its idle connections. Go keeps 2 for each host, so that nearly every
	// request would open a connection of its own.
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = inFlight
	service.RunCLI(context.Background())
}
