package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// proxy stands between a process and PostgreSQL. It passes everything on until it is told to drop
// replies, to stall, or to cut.
type proxy struct {
	target   string
	listener net.Listener

	mu       sync.Mutex
	links    map[*link]bool
	stalled  chan struct{} // closed when the stall is over; nil while there is none
	dropping atomic.Bool
	dropped  atomic.Int64 // replies
	cuts     atomic.Int64 // connections, but for those that were cut for a dropped reply
}

// link is one connection with its other half.
type link struct {
	p              *proxy
	client, server net.Conn
}

// startProxy listens on a free port of 127.0.0.1 for connections to the target.
func startProxy(target string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{target: target, listener: l, links: map[*link]bool{}}
	go p.accept()
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// close ends the proxy and its connections.
func (p *proxy) close() {
	_ = p.listener.Close()
	p.cut()
}

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.serve(c)
	}
}

func (p *proxy) serve(c net.Conn) {
	s, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil { // the server is down
		_ = c.Close()
		return
	}
	x := &link{p, c, s}
	p.mu.Lock()
	p.links[x] = true
	p.mu.Unlock()
	go x.requests()
	x.replies()
}

// stall holds everything up for a while, in both directions.
func (p *proxy) stall(d time.Duration) {
	over := make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		return
	}
	p.stalled = over
	time.AfterFunc(d, func() {
		p.mu.Lock()
		p.stalled = nil
		p.mu.Unlock()
		close(over)
	})
}

// drop loses replies for a while: requests reach the server, which commits, and its answer never arrives.
func (p *proxy) drop(d time.Duration) {
	p.dropping.Store(true)
	time.AfterFunc(d, func() { p.dropping.Store(false) })
}

// cut ends all connections of the moment, wherever they are.
func (p *proxy) cut() {
	p.mu.Lock()
	links := make([]*link, 0, len(p.links))
	for x := range p.links {
		links = append(links, x)
	}
	p.mu.Unlock()
	for _, x := range links {
		p.cuts.Add(1)
		x.close()
	}
}

func (x *link) close() {
	x.p.mu.Lock()
	delete(x.p.links, x)
	x.p.mu.Unlock()
	_ = x.client.Close()
	_ = x.server.Close()
}

// pass waits while the proxy stalls.
func (x *link) pass() {
	x.p.mu.Lock()
	stalled := x.p.stalled
	x.p.mu.Unlock()
	if stalled != nil {
		<-stalled
	}
}

func (x *link) requests() {
	defer x.close()
	buf := make([]byte, 32<<10)
	for {
		n, err := x.client.Read(buf)
		if n > 0 {
			x.pass()
			if _, err := x.server.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// replies passes on what the server says. It reads the messages (a type, a length and a body each), to
// know where a reply ends and whether a transaction goes on behind it: to lose the reply to
// "begin" would lose the transaction, not the news of its commit.
func (x *link) replies() {
	defer x.close()
	in := bufio.NewReaderSize(x.server, 32<<10)
	var reply []byte
	for started := false; ; {
		m, err := message(in)
		if err != nil {
			return
		}
		reply = append(reply, m...)
		end := m[0] == 'Z' // ReadyForQuery
		dropping := x.p.dropping.Load() && started
		if end && m[5] == 'I' && dropping { // idle: whatever it was is committed
			x.p.dropped.Add(1)
			return
		}
		started = started || end
		if end || !dropping && in.Buffered() == 0 {
			x.pass()
			if _, err := x.client.Write(reply); err != nil {
				return
			}
			reply = reply[:0]
		}
	}
}

func message(in *bufio.Reader) ([]byte, error) {
	head, err := in.Peek(5)
	if err != nil {
		return nil, err
	}
	m := make([]byte, 1+binary.BigEndian.Uint32(head[1:]))
	_, err = io.ReadFull(in, m)
	return m, err
}
