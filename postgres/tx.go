package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/errandhq/errand"
)

var _ errand.Transactor = (*Store)(nil)

// InTx implements [errand.Transactor] for a pgx.Tx and an *sql.Tx (of any driver for PostgreSQL) on the database of this store.
func (s *Store) InTx(transaction any) (errand.Store, error) {
	switch t := transaction.(type) {
	case pgx.Tx:
		return view{errand.OnlyInTx, s, native{t}}, nil
	case *sql.Tx:
		return view{errand.OnlyInTx, s, generic{t}}, nil
	}
	return nil, fmt.Errorf("%w transaction: a %T; use a pgx.Tx or an *sql.Tx", errand.ErrInvalid, transaction)
}

// view is the store within a transaction of the application.
type view struct {
	errand.Store
	s *Store
	t tx
}

// Insert implements [errand.Store].
func (v view) Insert(ctx context.Context, jobs []errand.Job) ([]*errand.Job, error) {
	if len(jobs) == 0 {
		return nil, ctx.Err()
	}
	there, err := v.s.insert(ctx, v.t, jobs)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	return there, nil
}

const selectJSON = `select json_agg(j)::text from (select %s from unnest($1::uuid[]) with ordinality x (key, n) join errand.jobs on id = x.key order by x.n) j`

var selectInTx = fmt.Sprintf(selectJSON, jsonColumns())

// Get implements [errand.Store].
func (v view) Get(ctx context.Context, ids []errand.ID) ([]errand.Job, error) {
	text, err := v.t.one(ctx, v.s.sql(selectInTx), raw(ids))
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	found, err := decodeJobs(text)
	return plain(found), err
}

// generic is a transaction of database/sql. Its drivers know nothing of arrays, so that these go as texts, which
// PostgreSQL reads as what the statement casts them to.
type generic struct{ *sql.Tx }

func (g generic) one(ctx context.Context, text string, args ...any) (string, error) {
	types := pgtype.NewMap()
	for _, cast := range casts.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(cast[1])
		name := cast[2]
		if short, ok := shortNames[name]; ok {
			name = short
		}
		if cast[3] != "" {
			name = "_" + name
		}
		t, ok := types.TypeForName(name)
		if _, done := args[n-1].(sql.NullString); done || !ok {
			continue
		}
		b, err := types.Encode(t.OID, pgtype.TextFormatCode, args[n-1], nil)
		if err != nil {
			return "", fmt.Errorf("argument %d: %w", n, err)
		}
		args[n-1] = sql.NullString{String: string(b), Valid: b != nil}
	}
	var answer sql.NullString
	err := g.QueryRowContext(ctx, text, args...).Scan(&answer)
	return answer.String, err
}

// casts finds the parameters of a statement with their types, each of which it names at least once.
var casts = regexp.MustCompile(`\$(\d+)::([a-z0-9]+)(\[\])?`)

// shortNames are what PostgreSQL calls types itself.
var shortNames = map[string]string{"smallint": "int2", "integer": "int4", "bigint": "int8", "boolean": "bool"}
