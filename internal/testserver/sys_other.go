//go:build !linux

package testserver

import (
	"errors"
	"os"
	"syscall"
)

// account is nil here: the servers run under the caller's.
type account struct{ uid, gid int }

func postgresAccount() (*account, error) {
	if os.Geteuid() == 0 {
		return nil, errors.New("PostgreSQL and PgBouncer refuse to run as root")
	}
	return nil, nil
}

func sysProcAttr(*account, syscall.Signal) *syscall.SysProcAttr {
	return nil
}

// lockDir returns no lock, so that nothing is swept.
func lockDir(string) (*os.File, error) {
	return nil, nil
}
