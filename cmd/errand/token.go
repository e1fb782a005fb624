package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/errandhq/errand/server"
)

func tokenCommand() *cobra.Command {
	var format string
	var isPassword bool
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make a bearer token, or the hash of a password",
		Long: `Token makes a bearer token of 256 random bits and its hash. The server's settings hold the hash, the client the token:

  [token.deploy]                          ERRAND_TOKEN=errand_…
  hash = "…"
  role = "operator"   # viewer, operator or admin

With --password it reads a password (from the terminal, or a line of stdin) and prints its bcrypt hash for
a [user.NAME] with password_hash and role.`,
		Example: `  errand token
  errand token -o json
  errand token --password`,
		Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := map[string]string{}
			if isPassword {
				password, err := readPassword(cmd)
				if err != nil {
					return err
				}
				if out["password_hash"], err = server.HashPassword(password); err != nil {
					return &usageError{err}
				}
			} else {
				out["token"], out["hash"] = server.NewToken()
			}
			if !isPassword {
				fmt.Fprintln(cmd.ErrOrStderr(), "errand: the token is shown only now; see errand token --help for where both go")
			}
			return printer{cmd.OutOrStdout(), format}.print(out, func() *table { return tokenTable(out) })
		},
	}
	cmd.Flags().BoolVar(&isPassword, "password", false, "hash a password instead")
	addFormat(cmd, &format, "table", "json")
	return cmd
}

func tokenTable(out map[string]string) *table {
	t := &table{}
	for _, k := range []string{"token", "hash", "password_hash"} {
		if out[k] != "" {
			t.row(k, out[k])
		}
	}
	return t
}

func readPassword(cmd *cobra.Command) (string, error) {
	if f, ok := cmd.InOrStdin().(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(cmd.ErrOrStderr(), "Password: ")
		raw, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		if err == nil && len(raw) == 0 {
			err = &usageError{errors.New("the password is empty")}
		}
		return string(raw), err
	}
	line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", &usageError{errors.New("no password: give it as a line on stdin")}
	}
	return line, nil
}
