package testserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Redis is a Redis server of its own, on Port of 127.0.0.1. It keeps everything in memory: Kill and Start empty it, unless Args say otherwise.
type Redis struct {
	*server
}

// RedisOptions are the options of [StartRedis].
type RedisOptions struct {
	MaxMemory string   // such as "64mb"; default: no limit. What happens at the limit is Redis's default: writes fail
	Args      []string // further arguments of redis-server, such as "--appendonly", "yes"
	Port      int      // of 127.0.0.1. Default: a free one
}

// StartRedis starts a server. The context is for the start only. Opts may be nil.
func StartRedis(ctx context.Context, opts *RedisOptions) (*Redis, error) {
	if opts == nil {
		opts = &RedisOptions{}
	}
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("Redis is missing: apt-get install redis-server, or set ERRAND_TEST_REDIS")
	}
	s, err := newServer("Redis", opts.Port, nil)
	if err != nil {
		return nil, err
	}
	s.command = []string{
		program, "--bind", "127.0.0.1", "--port", strconv.Itoa(s.Port), "--dir", s.Dir,
		"--save", "", "--appendonly", "no",
	}
	if opts.MaxMemory != "" {
		s.command = append(s.command, "--maxmemory", opts.MaxMemory)
	}
	s.command = append(s.command, opts.Args...)
	s.ready = func(int) bool {
		pong, err := redis(s.address(), "PING")
		return err == nil && pong == "PONG" || err != nil && strings.Contains(err.Error(), "NOAUTH")
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &Redis{s}, nil
}

// Addr returns host:port.
func (r *Redis) Addr() string {
	return r.address()
}

// CLI runs one command and returns its reply as text: a list's elements are a line each, nil is empty.
func (r *Redis) CLI(args ...string) (string, error) {
	return redis(r.address(), args...)
}

func redis(addr string, args ...string) (string, error) {
	const timeout = 10 * time.Second
	c, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(timeout))
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		return "", err
	}
	return readReply(bufio.NewReader(c))
}

// readReply reads a reply of the protocol RESP2.
func readReply(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, text := line[0], strings.TrimSpace(line[1:])
	n, _ := strconv.Atoi(text)
	switch kind {
	case '+', ':':
		return text, nil
	case '-':
		return "", errors.New("redis: " + text)
	case '$':
		if n < 0 {
			return "", nil
		}
		data := make([]byte, n+2)
		_, err := io.ReadFull(r, data)
		return string(data[:n]), err
	case '*':
		var lines []string
		for range n {
			line, err := readReply(r)
			if err != nil {
				return "", err
			}
			lines = append(lines, line)
		}
		return strings.Join(lines, "\n"), nil
	}
	return "", fmt.Errorf("redis: unknown reply %q", line)
}
