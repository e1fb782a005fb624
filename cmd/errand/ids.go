package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/server"
)

// readIDs reads the ids of a command line; - stands for those on stdin, one a word.
func readIDs(stdin io.Reader, args []string) ([]errand.ID, error) {
	var ids []errand.ID
	add := func(s string) error {
		id, err := parseID(s)
		if err != nil {
			return &usageError{err}
		}
		if !slices.Contains(ids, id) || len(ids) > 1000 {
			ids = append(ids, id)
		}
		return nil
	}
	for _, a := range args {
		if a != "-" {
			if err := add(a); err != nil {
				return nil, err
			}
			continue
		}
		words := bufio.NewScanner(stdin)
		words.Split(bufio.ScanWords)
		for words.Scan() {
			if err := add(words.Text()); err != nil {
				return nil, fmt.Errorf("stdin: %w", err)
			}
		}
		if err := words.Err(); err != nil {
			return nil, fmt.Errorf("stdin: %w", err)
		}
	}
	return ids, nil
}

// eachID does something to each job of a command line, in turn. An error does not keep it from
// the next ones, unless the server is away or asks for other credentials. The first one is returned, the others are told.
func eachID(cmd *cobra.Command, args []string, do func(*client, errand.ID) error) error {
	ids, err := readIDs(cmd.InOrStdin(), args)
	if err != nil {
		return err
	}
	c, err := newClient(cmd)
	if err != nil {
		return err
	}
	var first error
	for _, id := range ids {
		err := do(c, id)
		isWhole := isCode(err, exitUnreachable) || isCode(err, exitRefused) || errors.Is(err, context.Canceled)
		switch {
		case err == nil:
		case isWhole:
			return err
		case len(ids) == 1:
			return naming(id, err)
		default:
			c.say("%s", naming(id, err))
			if first == nil {
				first = err
			}
		}
	}
	if first != nil {
		return &codeError{errors.New(""), exitCode(first)} // it was told already
	}
	return nil
}

// naming has an error name the job that it is about.
func naming(id errand.ID, err error) error {
	if strings.Contains(err.Error(), id.String()) {
		return err
	}
	return fmt.Errorf("job %s: %w", id, err)
}

// completeIDs completes the ids of the newest jobs.
func completeIDs(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	c, ctx, cancel := completer(cmd)
	defer cancel()
	if c == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	page, _ := c.page(ctx, url.Values{"limit": {"50"}})
	var words []string
	for i := range page.Jobs {
		j := &page.Jobs[i]
		words = append(words, fmt.Sprintf("%s\t%s %s", j.ID, j.Kind, j.State))
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// completeKinds completes the names of kinds.
func completeKinds(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	c, ctx, cancel := completer(cmd)
	defer cancel()
	if c == nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var kinds server.Kinds
	_ = c.do(ctx, http.MethodGet, "/kinds", nil, nil, &kinds)
	var words []string
	for _, k := range kinds.Kinds {
		words = append(words, k.Name)
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// completer is a client for a shell that waits.
func completer(cmd *cobra.Command) (*client, context.Context, func()) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	c, err := newClient(cmd)
	if err != nil {
		return nil, ctx, cancel
	}
	return c, ctx, cancel
}
