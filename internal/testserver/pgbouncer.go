package testserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
)

// PgBouncer is a PgBouncer in front of a [Postgres]. A client has a connection to the database only for the
// time of each transaction (pool_mode=transaction).
type PgBouncer struct {
	*server
}

const pgbouncerConfig = `[databases]
* = host=127.0.0.1 port=%d

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = transaction
max_client_conn = 1000
server_login_retry = 1
`

// StartPgBouncer starts a PgBouncer in front of p, which may be killed and started meanwhile: new
// transactions then wait for it, up to two minutes. PgBouncer tries again each second, not as usual each 15 s. The context is for the start only.
func StartPgBouncer(ctx context.Context, p *Postgres) (*PgBouncer, error) {
	program, err := pgbouncerProgram()
	if err != nil {
		return nil, err
	}
	account, err := postgresAccount()
	if err != nil {
		return nil, err
	}
	s, err := newServer("PgBouncer", 0, account)
	if err != nil {
		return nil, err
	}
	config, users := filepath.Join(s.Dir, "pgbouncer.ini"), filepath.Join(s.Dir, "users.txt")
	s.command = []string{program, config}
	s.ready = func(int) bool {
		c, err := net.Dial("tcp", s.address())
		return err == nil && c.Close() == nil
	}
	err = os.WriteFile(users, []byte(`"postgres" ""`+"\n"), 0o644)
	if err == nil {
		err = os.WriteFile(config, fmt.Appendf(nil, pgbouncerConfig, p.Port, s.Port, users), 0o644)
	}
	if err == nil {
		err = s.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &PgBouncer{s}, nil
}

func pgbouncerProgram() (string, error) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("PgBouncer is missing: apt-get install pgbouncer")
}

// URL returns the connection string of a database of the cluster behind.
func (b *PgBouncer) URL(database string) string {
	return postgresURL(b.address(), database)
}
