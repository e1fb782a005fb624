package server

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// CheckListen refuses an address to listen on that others can reach, if no authentication
// is configured and nobody insists.
func CheckListen(addr string, hasAuth, insist bool) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address %q: use host:port, such as 127.0.0.1:8080", addr)
	}
	if hasAuth || insist || isLoopback(host) {
		return nil
	}
	return fmt.Errorf("address %q: others can reach it, and no authentication is configured: everybody could do everything; "+
		"configure tokens or users, listen on 127.0.0.1, or insist", addr)
}

func isLoopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}

// hosts are the names by which the server may be addressed.
type hosts struct {
	mu    sync.RWMutex
	names map[string]bool
}

func (h *hosts) add(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.names == nil {
		h.names = map[string]bool{}
	}
	h.names[plainHost(name)] = true
}

// allow reports whether a Host header is acceptable: a known name, or an IP address, which
// cannot be made to resolve to anything else.
func (h *hosts) allow(header string) bool {
	name := header
	if host, _, err := net.SplitHostPort(header); err == nil {
		name = host
	}
	name = plainHost(name)
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return true
	}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	return name != "" && h.names[name]
}

func plainHost(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }

// protect refuses requests that a web page makes behind its user's back. Probes of
// health, which come by any name, are spared.
func (s *Server) protect(r *http.Request, pattern string) *Problem {
	if role, ok := policy[pattern]; ok && role == anyone {
		return nil
	}
	if !s.hosts.allow(r.Host) {
		return problem(http.StatusMisdirectedRequest, "this server is not known by the name in the Host header; its settings can add names")
	}
	if err := s.crossOrigin.Check(r); err != nil {
		return problem(http.StatusForbidden, "a page of another origin may not do this")
	}
	return nil
}
