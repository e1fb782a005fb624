package server

import (
	"io/fs"
	"log/slog"
	"net/http"
)

// Role is what somebody may do. Each may do what those before it may.
type Role string

// The roles.
const (
	Viewer   Role = "viewer"   // see everything
	Operator Role = "operator" // and enqueue, pause, resume, cancel, terminate and retry jobs, and make and edit schedules
	Admin    Role = "admin"    // and delete them
)

// Token is a bearer token that is accepted. Make one with [NewToken].
type Token struct {
	Name string // who uses it: the actor of what is done with it
	Hash string // SHA-256 of the token, in hexadecimal
	Role Role
}

// User is a name and password that are accepted by Basic authentication.
type User struct {
	Name string
	Hash string // bcrypt, from [HashPassword]
	Role Role
}

// Config configures a [Server]. The zero value works, for requests to loopback names.
type Config struct {
	// Tokens and Users are who may use the API. If there are none, everybody may do
	// everything: listen on loopback addresses only then, see [CheckListen].
	Tokens []Token
	Users  []User
	// Hosts are the names, without port, by which the server may be addressed, besides
	// localhost, IP addresses and the name in the address it listens on. Others are refused,
	// so that no web page reaches it by a name that it made resolve to our address (DNS
	// rebinding).
	Hosts []string
	// Origins are the origins ("https://host:port") whose pages may call the API with
	// unsafe methods, besides the server's own.
	Origins []string
	// StrictKinds refuses a new job of a kind that neither this process nor any live worker
	// session handles. By default it is created, and the answer carries a warning: it may be
	// a slip of the pen, or its workers are about to start.
	StrictKinds bool
	// Identify says who makes a request, for a program that mounts the server behind its own authentication: with it, Tokens and
	// Users are not looked at. False is answered by 401.
	Identify func(*http.Request) (name string, role Role, ok bool)
	// ReadOnly refuses whatever would change anything, whoever asks.
	ReadOnly bool
	// Console is the page to serve at the root, as package console has it. Nil: none.
	Console fs.FS
	// Version is shown to clients.
	Version string
	// MaxWaits bounds how many requests and connections wait at once (wait=…, watch). Each takes about 40 kB. Default 20,000.
	MaxWaits int
	// Log gets errors and panics, with the request id. Default slog.Default().
	Log *slog.Logger
}
