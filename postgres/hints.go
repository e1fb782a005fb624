package postgres

import (
	"github.com/jackc/pgx/v5"

	"github.com/errandhq/errand"
)

type hints struct{}

func newHints(*Store, *pgx.ConnConfig) *hints { return &hints{} }

func (h *hints) wait()                                    {}
func (h *hints) inserted([]errand.Job, []*errand.Job)      {}
func (h *hints) swapped([]errand.Change, []errand.Swapped) {}
func (h *hints) session(errand.Session)                   {}
