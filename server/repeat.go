package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"sync"

	"github.com/google/uuid"

	"github.com/errandhq/errand"
)

// digestKey is the metadata key under which a job keeps the digest of the request that created it.
const digestKey = reserved + "request"

// keySpace is the name space of IDs that derive from idempotency keys.
var keySpace = uuid.MustParse("7c1f3a52-0d0e-5a53-9f6e-8d8b1a6f5c11")

// repeat is what ties a request to those that repeat it. Its key is empty where nothing does.
type repeat struct {
	key    string
	who    string
	digest string // of the body
}

func newRepeat(ctx context.Context, key string, body []byte) repeat {
	if key == "" {
		return repeat{}
	}
	sum := sha256.Sum256(body)
	return repeat{key, principalOf(ctx).name, hex.EncodeToString(sum[:16])}
}

// id is the ID of the i-th job that the request creates. NUL is in no header and no name.
func (r repeat) id(i int) errand.ID {
	return uuid.NewSHA1(keySpace, []byte(r.who+"\x00"+r.key+"\x00"+strconv.Itoa(i)))
}

// check refuses jobs that another request with this key created.
func (r repeat) check(jobs []errand.Job) error {
	if r.key == "" {
		return nil
	}
	for i := range jobs {
		j := &jobs[i]
		if j.ID == r.id(i) && j.Metadata[digestKey] != r.digest {
			return problem(http.StatusUnprocessableEntity, "this Idempotency-Key was used with another body",
				ProblemField{"header.Idempotency-Key", "expected a key of its own for each request"})
		}
	}
	return nil
}

// repeats makes batches with the same key take turns in this process, so that one which differs
// is refused before it creates a job.
type repeats [64]sync.Mutex

// lock returns the unlock.
func (r *repeats) lock(id errand.ID) func() {
	m := &r[id[15]%64]
	m.Lock()
	return m.Unlock
}

func isNotFound(err error) bool { return errors.Is(err, errand.ErrNotFound) }
