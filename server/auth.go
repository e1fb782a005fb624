package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/errandhq/errand"
)

// anonymous is the actor where no authentication is configured.
const anonymous = "anonymous"

// anyone is the policy of routes that need no authentication.
const anyone Role = "anyone"

var ranks = map[Role]int{anyone: 0, Viewer: 1, Operator: 2, Admin: 3}

// principal is who makes a request.
type principal struct {
	name string
	role Role
}

// NewToken makes a bearer token of 256 random bits, and the hash of it to be configured.
func NewToken() (token, hash string) {
	var b [32]byte
	rand.Read(b[:])
	token = "errand_" + base64.RawURLEncoding.EncodeToString(b[:])
	return token, HashToken(token)
}

// HashToken returns the hash of a bearer token as [Token].Hash wants it.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// HashPassword returns the hash of a password as [User].Hash wants it. Passwords have at
// most 72 bytes.
func HashPassword(password string) (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	return string(hash), err
}

// auth knows who may use the API.
type auth struct {
	asks   func(*http.Request) (name string, role Role, ok bool) // nil: tokens and users
	tokens []hashedToken
	users  map[string]User
	dummy  []byte        // stands in for the hash of unknown users
	slots  chan struct{} // bounds how many passwords are checked at once
	failed *limiter
	salt   [32]byte // of verified

	mu       sync.Mutex
	verified map[string]verified // by user: passwords that were right a moment ago
}

type hashedToken struct {
	hash [sha256.Size]byte
	principal
}

type verified struct {
	digest [sha256.Size]byte
	until  time.Time
}

// verifiedFor is how long a password that was right is not checked again, since bcrypt is slow
// on purpose.
const verifiedFor = 5 * time.Minute

func newAuth(c *Config) (*auth, error) {
	a := &auth{
		asks:  c.Identify,
		users: map[string]User{}, verified: map[string]verified{},
		slots:  make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		failed: newLimiter(),
	}
	rand.Read(a.salt[:])
	for _, t := range c.Tokens {
		raw, err := hex.DecodeString(t.Hash)
		if err != nil || len(raw) != sha256.Size {
			return nil, fmt.Errorf("token of %q: its hash is not a SHA-256 in hexadecimal; make one with NewToken", t.Name)
		}
		if err := checkPrincipal("token", t.Name, t.Role); err != nil {
			return nil, err
		}
		a.tokens = append(a.tokens, hashedToken{[sha256.Size]byte(raw), principal{t.Name, t.Role}})
	}
	for _, u := range c.Users {
		if _, err := bcrypt.Cost([]byte(u.Hash)); err != nil {
			return nil, fmt.Errorf("user %q: the hash of the password is not one of bcrypt; make one with HashPassword", u.Name)
		}
		if err := checkPrincipal("user", u.Name, u.Role); err != nil {
			return nil, err
		}
		if _, twice := a.users[u.Name]; twice || strings.Contains(u.Name, ":") {
			return nil, fmt.Errorf("user %q: use a name without colon, and each name once", u.Name)
		}
		a.users[u.Name] = u
		a.dummy = []byte(u.Hash)
	}
	return a, nil
}

func checkPrincipal(what, name string, role Role) error {
	if name == "" || len(name) > errand.MaxName || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%s %q: use a name of 1 to %d printable bytes", what, name, errand.MaxName)
	}
	if ranks[role] == 0 {
		return fmt.Errorf("%s %q: role %q: use %s, %s or %s", what, name, role, Viewer, Operator, Admin)
	}
	return nil
}

// configured reports whether anybody is known at all.
func (a *auth) configured() bool { return a.asks != nil || len(a.tokens)+len(a.users) > 0 }

// identify returns who makes the request, or the problem to answer. Who failed too often from
// an address waits, unless the token is right or the password was a moment ago.
func (a *auth) identify(r *http.Request) (principal, *Problem) {
	switch {
	case a.asks != nil:
		name, role, ok := a.asks(r)
		if !ok || ranks[role] == 0 {
			return principal{}, problem(http.StatusUnauthorized, "authentication is required")
		}
		return principal{name, role}, nil
	case !a.configured():
		return principal{anonymous, Admin}, nil
	}
	header := authorization(r)
	scheme, credentials, _ := strings.Cut(header, " ")
	address := clientAddress(r)
	switch {
	case header == "":
		return principal{}, a.challenge("authentication is required")
	case strings.EqualFold(scheme, "Bearer"):
		if p, ok := a.token(strings.TrimSpace(credentials)); ok {
			return p, nil
		}
	case strings.EqualFold(scheme, "Basic"):
		name, password, _ := r.BasicAuth()
		if u, ok := a.recent(name, password); ok {
			return principal{u.Name, u.Role}, nil
		}
		if a.failed.exhausted(address) {
			return principal{}, tooMany()
		}
		if u, ok := a.password(r.Context(), name, password); ok {
			return principal{u.Name, u.Role}, nil
		}
	}
	if !a.failed.fail(address) {
		return principal{}, tooMany()
	}
	return principal{}, a.challenge("these credentials are not right")
}

// authorization is the Authorization header. A page cannot set that of a WebSocket: it offers a subprotocol bearer.TOKEN, in
// which characters that a subprotocol cannot have are percent-encoded.
func authorization(r *http.Request) string {
	header := r.Header.Get("Authorization")
	if header != "" || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return header
	}
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for protocol := range strings.SplitSeq(line, ",") {
			if token, ok := strings.CutPrefix(strings.TrimSpace(protocol), "bearer."); ok {
				if plain, err := url.PathUnescape(token); err == nil {
					token = plain
				}
				return "Bearer " + token
			}
		}
	}
	return ""
}

func tooMany() *Problem {
	return problem(http.StatusTooManyRequests, "too many failed logins from this address").retryAfter(int(failedEvery / time.Second))
}

// challenge is the problem of a request without valid credentials.
func (a *auth) challenge(detail string) *Problem {
	p := problem(http.StatusUnauthorized, detail)
	if len(a.tokens) > 0 {
		p = p.with("WWW-Authenticate", `Bearer realm="errand"`)
	}
	if len(a.users) > 0 {
		p = p.with("WWW-Authenticate", `Basic realm="errand", charset="UTF-8"`)
	}
	return p
}

// token compares with every token, so that the time it takes tells nothing.
func (a *auth) token(token string) (p principal, ok bool) {
	sum := sha256.Sum256([]byte(token))
	for i := range a.tokens {
		if subtle.ConstantTimeCompare(sum[:], a.tokens[i].hash[:]) == 1 {
			p, ok = a.tokens[i].principal, true
		}
	}
	return p, ok
}

// recent reports whether the password was right a moment ago.
func (a *auth) recent(name, password string) (User, bool) {
	a.mu.Lock()
	v, ok := a.verified[name]
	a.mu.Unlock()
	digest := a.digest(name, password)
	if !ok || time.Now().After(v.until) || subtle.ConstantTimeCompare(digest[:], v.digest[:]) != 1 {
		return User{}, false
	}
	return a.users[name], true
}

func (a *auth) digest(name, password string) [sha256.Size]byte {
	h := sha256.New()
	h.Write(a.salt[:])
	fmt.Fprintf(h, "%d:%s:%s", len(name), name, password)
	return [sha256.Size]byte(h.Sum(nil))
}

// password checks a password, for unknown users too: the time it takes does not tell who is known.
func (a *auth) password(ctx context.Context, name, password string) (User, bool) {
	if len(a.users) == 0 {
		return User{}, false
	}
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-ctx.Done():
		return User{}, false
	}
	u, known := a.users[name]
	hash := a.dummy
	if known {
		hash = []byte(u.Hash)
	}
	right := bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil
	if !known || !right {
		return User{}, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.verified[name] = verified{a.digest(name, password), time.Now().Add(verifiedFor)}
	return u, true
}
