package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// configLine is one setting as errand config shows it.
type configLine struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

func configCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print each setting and where it came from",
		Long: `Config prints what the server's commands and the client's would use, and where each value came from.

The strongest source wins: flags, then the environment (ERRAND_…), then the settings file (--config,
ERRAND_CONFIG or ./errand.toml), then ./.env, then the defaults. Secrets are not printed.`,
		Example: `  errand config
  errand config --config /etc/errand.toml -o json`,
		Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := loadSettings(cmd.Flags())
			if err != nil {
				return err
			}
			for _, w := range s.warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "errand: warning:", w)
			}
			p := printer{cmd.OutOrStdout(), format}
			lines := s.lines()
			return p.print(lines, func() *table {
				t := &table{}
				t.head("setting", "value", "from")
				for _, l := range lines {
					t.row(l.Key, cmp.Or(shorten(l.Value, 80), "-"), l.Source)
				}
				return t
			})
		},
	}
	addSettings(cmd.Flags(), apiSide, storeSide, engineSide, workSide, clientSide)
	addFormat(cmd, &format, "table", "json", "jsonl")
	return cmd
}

// lines lists all settings. Secrets are scrubbed.
func (s *settings) lines() []configLine {
	var lines []configLine
	add := func(key, value, source string) {
		if source == "" {
			source = "default"
		}
		lines = append(lines, configLine{key, value, source})
	}
	for i := range allSettings {
		d := &allSettings[i]
		value := d.value(s).String()
		if d.secret && value != "" {
			value = "(secret)"
		}
		add(d.key, value, s.sources[d.key])
	}
	for _, name := range slices.Sorted(maps.Keys(s.Users)) {
		add("user."+name, string(s.Users[name].Role)+", password (secret)", s.sources["user."+name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.Tokens)) {
		add("token."+name, string(s.Tokens[name].Role)+", hash (secret)", s.sources["token."+name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.Commands)) {
		c := s.Commands[name]
		value := fmt.Sprintf("%q", c.Argv)
		if len(c.Env) > 0 {
			value += ", env " + strings.Join(slices.Sorted(maps.Keys(c.Env)), " ") + " (secret)"
		}
		add("command."+name, value, s.sources["command."+name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.Cron)) {
		add("cron."+name, s.Cron[name], s.sources["cron."+name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.Schedules)) {
		x := s.Schedules[name]
		add("schedule."+name, x.Spec+": "+x.Kind, s.sources["schedule."+name])
	}
	return lines
}
