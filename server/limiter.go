package server

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// The limits on failed logins.
const (
	failedBurst  = 10              // failures of one address at once
	failedEvery  = 6 * time.Second // and then one in so much time
	failedPlaces = 10_000          // addresses remembered
)

// limiter counts failed logins by address, in bounded memory.
type limiter struct {
	mu    sync.Mutex
	m     map[netip.Prefix]*rate.Limiter
	limit int
}

func newLimiter() *limiter {
	return &limiter{m: map[netip.Prefix]*rate.Limiter{}, limit: failedPlaces}
}

// exhausted reports whether the address has no failure left.
func (l *limiter) exhausted(address netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.m[address]
	return x != nil && x.Tokens() < 1
}

// fail counts a failure. It reports false when there were too many.
func (l *limiter) fail(address netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.m[address]
	if x == nil {
		if len(l.m) >= l.limit {
			l.forget()
		}
		x = rate.NewLimiter(rate.Every(failedEvery), failedBurst)
		l.m[address] = x
	}
	return x.Allow()
}

// forget makes room: who has all failures left goes, and if that is nobody, some other.
func (l *limiter) forget() {
	for address, x := range l.m {
		if x.Tokens() >= failedBurst {
			delete(l.m, address)
		}
	}
	for address := range l.m {
		if len(l.m) < l.limit {
			return
		}
		delete(l.m, address)
	}
}

// clientAddress is the client's IP address, or its /64 network: one site has that many of IPv6.
func clientAddress(r *http.Request) netip.Prefix {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	ip = ip.Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}
