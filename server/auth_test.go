package server

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/bcrypt"

	"github.com/errandhq/errand"
)

func basic(name, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
}

func cheapHash(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

// TestRoles tries every route with every role.
func TestRoles(t *testing.T) {
	tokens := map[Role]string{}
	config := &Config{Users: []User{{"ann", cheapHash(t, "right"), Admin}}}
	for _, role := range []Role{Viewer, Operator, Admin} {
		token, hash := NewToken()
		tokens[role] = "Bearer " + token
		config.Tokens = append(config.Tokens, Token{"a-" + string(role), hash, role})
	}
	r := newRig(t, config)
	for pattern, need := range policy {
		method, path, _ := strings.Cut(pattern, " ")
		path = strings.ReplaceAll(path, "{id}", uuid.NewString())
		// A body that is refused after authorization only.
		r.auth = ""
		a := r.do(method, path, "")
		if (a.status == 401) != (need != anyone) {
			t.Errorf("%s without credentials: %d", pattern, a.status)
		}
		if a.status == 401 && fmt.Sprint(a.want(401).header["Www-Authenticate"]) != `[Bearer realm="errand" Basic realm="errand", charset="UTF-8"]` {
			t.Error(a.header)
		}
		for role, token := range tokens {
			r.auth = token
			a := r.do(method, path, "")
			if allowed := ranks[role] >= ranks[need]; (a.status == 403) == allowed || a.status == 401 || a.status >= 500 {
				t.Errorf("%s as %s: %d", pattern, role, a.status)
			}
		}
	}
	r.auth = tokens[Operator]
	_, path := r.create(`{"kind":"echo","in":"1h"}`)
	if j := r.do("POST", path+"/pause", `{"reason":"x"}`).want(200).job(); j.Actor != "a-operator" {
		t.Errorf("actor %q", j.Actor)
	}
	r.auth = basic("ann", "right")
	if j := r.do("POST", path+"/cancel", "").want(200).job(); j.Actor != "ann" {
		t.Errorf("actor %q", j.Actor)
	}
}

// TestDeletingBulk: only an admin has jobs deleted, whatever way it is asked for.
func TestDeletingBulk(t *testing.T) {
	operator, hash1 := NewToken()
	admin, hash2 := NewToken()
	r := newRig(t, &Config{Tokens: []Token{{"op", hash1, Operator}, {"ann", hash2, Admin}}})
	r.auth = "Bearer " + operator
	bulk := `"kind":"errand.bulk","args":{"verb":"delete","query":{},"actor":"ann"}`
	for path, body := range map[string]string{
		"POST /api/v1/jobs": "{" + bulk + "}", "POST /api/v1/jobs/batch": `{"jobs":[{` + bulk + `}]}`, "PUT /api/v1/schedules/s": `{"spec":"@reboot","job":{` + bulk + `}}`,
	} {
		method, path, _ := strings.Cut(path, " ")
		if p := r.do(method, path, body).want(422).problem(); !strings.HasSuffix(p.Errors[0].Location, "kind") {
			t.Errorf("%s: %+v", path, p)
		}
	}
	r.do("POST", "/api/v1/bulk", `{"verb":"delete","filter":"tag:none"}`).want(403)
	r.auth = "Bearer " + admin
	var b Bulk
	r.do("POST", "/api/v1/bulk", `{"verb":"delete","filter":"tag:none"}`).want(202).decode(&b)
	path := "/api/v1/jobs/" + b.Job.ID.String()
	r.await(path, errand.Succeeded)
	r.auth = "Bearer " + operator
	r.do("POST", path+"/retry", "").want(403)
	r.auth = "Bearer " + admin
	r.do("POST", path+"/retry", "").want(200)
	r.await(path, errand.Succeeded)
	r.do("POST", "/api/v1/bulk", `{"verb":"cancel","filter":"tag:none"}`).want(202).decode(&b)
	path = "/api/v1/jobs/" + b.Job.ID.String()
	r.await(path, errand.Succeeded)
	r.auth = "Bearer " + operator
	r.do("POST", path+"/retry", "").want(200)
}

// TestRouteWithoutPolicy: what nobody thought of is refused.
func TestRouteWithoutPolicy(t *testing.T) {
	r := newRig(t, nil)
	r.server.routes.HandleFunc("GET /api/v1/forgotten", func(http.ResponseWriter, *http.Request) { t.Error("reached") })
	r.do("GET", "/api/v1/forgotten", "").want(403)
}

func TestIdempotencyKeyIsOfOnePrincipal(t *testing.T) {
	one, hash1 := NewToken()
	two, hash2 := NewToken()
	r := newRig(t, &Config{Tokens: []Token{{"one", hash1, Operator}, {"two", hash2, Operator}}})
	r.auth = "Bearer " + one
	a := r.do("POST", "/api/v1/jobs", `{"kind":"echo"}`, "Idempotency-Key: k").want(201).job()
	r.auth = "Bearer " + two
	b := r.do("POST", "/api/v1/jobs", `{"kind":"echo","args":2}`, "Idempotency-Key: k").want(201).job()
	if a.ID == b.ID {
		t.Error("the same job")
	}
}

func TestFailedLogins(t *testing.T) {
	token, hash := NewToken()
	r := newRig(t, &Config{
		Users:  []User{{"ann", cheapHash(t, "right"), Viewer}, {"bob", cheapHash(t, "other"), Viewer}},
		Tokens: []Token{{"t", hash, Viewer}},
	})
	r.auth = basic("ann", "right")
	r.do("GET", "/api/v1/stats", "").want(200)
	wrong := []string{
		basic("ann", "wrong"), basic("nobody", "right"), basic("ann", ""), basic("", ""), "Basic !", "Basic",
		"Bearer " + token + "x", "Bearer", "Digest x", hash,
	}
	for i := range failedBurst {
		r.auth = wrong[i%len(wrong)]
		if a := r.do("GET", "/api/v1/stats", "").want(401); strings.Contains(a.body, "wrong") {
			t.Error(a.body)
		}
	}
	for _, auth := range []string{basic("ann", "wrong"), basic("bob", "other"), "Bearer x"} {
		r.auth = auth
		if a := r.do("GET", "/api/v1/stats", "").want(429); a.header.Get("Retry-After") != "6" {
			t.Error(a.header)
		}
	}
	// Nobody can be locked out by another's failures who has a token, or was here a moment ago.
	for _, auth := range []string{"Bearer " + token, "bearer " + token, basic("ann", "right")} {
		r.auth = auth
		r.do("GET", "/api/v1/stats", "").want(200)
	}
	r.auth = ""
	r.do("GET", "/api/v1/stats", "").want(401)
}

func TestLimiterIsBounded(t *testing.T) {
	l := newLimiter()
	l.limit = 100
	for i := range 1000 {
		address := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
		if !l.fail(address) || len(l.m) > 100 {
			t.Fatal(i, len(l.m))
		}
	}
	req := httptest.NewRequest("GET", "/", nil)
	for remote, want := range map[string]string{
		"10.1.2.3:99": "10.1.2.3/32", "[2001:db8:1:2:3:4:5:6]:99": "2001:db8:1:2::/64", "[::ffff:10.1.2.3]:9": "10.1.2.3/32", "@": "invalid Prefix",
	} {
		req.RemoteAddr = remote
		if got := clientAddress(req).String(); got != want {
			t.Error(remote, got)
		}
	}
}

func TestVerifiedPasswordsExpire(t *testing.T) {
	a, err := newAuth(&Config{Users: []User{{"ann", cheapHash(t, "right"), Viewer}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := a.password(t.Context(), "ann", "right"); !ok {
		t.Fatal("refused")
	}
	if _, ok := a.recent("ann", "right"); !ok {
		t.Error("not remembered")
	}
	if _, ok := a.recent("ann", "wrong"); ok {
		t.Error("any password is good")
	}
	v := a.verified["ann"]
	v.until = time.Now()
	a.verified["ann"] = v
	if _, ok := a.recent("ann", "right"); ok {
		t.Error("remembered for ever")
	}
}

func TestBadConfig(t *testing.T) {
	_, hash := NewToken()
	pass, err := HashPassword("right")
	if err != nil {
		t.Fatal(err)
	}
	if cost, err := bcrypt.Cost([]byte(pass)); err != nil || cost < 10 {
		t.Error(cost, err)
	}
	for name, c := range map[string]*Config{
		"token instead of hash":   {Tokens: []Token{{"a", "errand_x", Viewer}}},
		"short hash":              {Tokens: []Token{{"a", "ab", Viewer}}},
		"role":                    {Tokens: []Token{{"a", hash, "root"}}},
		"role of nobody":          {Tokens: []Token{{"a", hash, anyone}}},
		"no role":                 {Tokens: []Token{{"a", hash, ""}}},
		"no name":                 {Tokens: []Token{{"", hash, Viewer}}},
		"control character":       {Tokens: []Token{{"a\x00b", hash, Viewer}}},
		"password instead":        {Users: []User{{"a", "right", Viewer}}},
		"colon":                   {Users: []User{{"a:b", pass, Viewer}}},
		"twice":                   {Users: []User{{"a", pass, Viewer}, {"a", pass, Admin}}},
		"origin without a scheme": {Origins: []string{"example.com"}},
	} {
		if _, err := New(errand.New(errand.Memory(nil), nil), c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestNewToken(t *testing.T) {
	token, hash := NewToken()
	other, _ := NewToken()
	if token == other || len(token) != len("errand_")+43 || HashToken(token) != hash || len(hash) != 64 {
		t.Error(token, hash)
	}
}
