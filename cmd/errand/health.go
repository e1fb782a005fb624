package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand/server"
)

// healthTime is how long a server may take to say that it is well.
const healthTime = 5 * time.Second

func healthCommand() *cobra.Command {
	var ready bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a server whether it is well, as containers do",
		Long: `Health asks a server for /healthz: whether it serves requests; with --ready for /readyz: whether its
store answers too, and it is not about to stop. It says "ok" and exits with 0, or says what is wrong and exits
with 6. It needs no credentials, and waits 5 seconds at most.`,
		Example: `  errand health
  errand health --ready --server http://10.0.0.7:8642`,
		Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			path := "/healthz"
			if ready {
				path = "/readyz"
			}
			if err := c.health(cmd.Context(), path); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "ok")
			return nil
		},
	}
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it is ready for requests")
	clientFlags(cmd)
	return cmd
}

// health asks for /healthz or /readyz. Any answer but "ok" is an error.
func (c *client) health(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return c.refused(resp)
	}
	var h server.Health
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<10)).Decode(&h); err != nil || h.Status != "ok" {
		return &codeError{fmt.Errorf("%s%s does not answer as an errand server does", c.base, path), exitUnreachable}
	}
	return nil
}
