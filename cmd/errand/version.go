package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// release is set by the linker in released binaries.
var release string

// version is the version of this binary: of a release, or of the source that it was built from.
func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

func versionCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  errand version\n  errand version -o json",
		Args:    wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := map[string]string{"version": version(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH}
			if format == "table" {
				fmt.Fprintf(cmd.OutOrStdout(), "errand %s (%s, %s/%s)\n", v["version"], v["go"], v["os"], v["arch"])
				return nil
			}
			return printer{cmd.OutOrStdout(), format}.print(v, nil)
		},
	}
	addFormat(cmd, &format, "table", "json")
	return cmd
}
