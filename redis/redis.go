// Package redis puts a Redis in front of errand's PostgreSQL store: it hands out ready jobs, and tells processes of
// each other's news.
//
//	dispatcher, err := redis.Open("127.0.0.1:6379", nil)
//	store, err := postgres.Open(ctx, url, &postgres.Options{Dispatcher: dispatcher})
//
// After a commit the tickets of the jobs that it has made ready are pushed to Redis. A worker takes a batch of tickets
// from there and claims these very jobs in PostgreSQL; if there are none, it asks PostgreSQL only once a
// second. PostgreSQL stays the truth: a ticket is good for nothing once its job was claimed, and a job without a
// ticket is found within a second. So a Redis that is dead, full, flushed or restored costs latency only.
//
// # When to use it
//
// With many workers that are mostly idle: without Redis each of them asks PostgreSQL when a job comes, and all but
// one in vain. With 50 idle workers on two cores a job cost PostgreSQL about 49 transactions without Redis and about 6 with it, and a
// process that waits for its end learned of it after 7 ms instead of 18 (the median; BenchmarkIdleWorkers). With one worker, or under load, where
// a claim takes many jobs at once, there is no difference worth a second service.
package redis

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/errandhq/errand"
	"github.com/errandhq/errand/postgres"
)

// Options are the options of [Open].
type Options struct {
	Username string
	Password string
	DB       int
	// Prefix begins the names of all keys and channels, so that several systems can share a Redis. Default "errand".
	Prefix string
	// Keep is how many tickets Redis keeps of each kind in each queue: those of the jobs that should start first. The others
	// stay in PostgreSQL. Default 10,000.
	Keep int
}

// Dispatcher is a [postgres.Dispatcher] in Redis 6 or newer.
type Dispatcher struct {
	options Options
	client  rueidis.ClientOption

	mu      sync.Mutex
	current rueidis.Client
	dialing bool
	closed  bool
}

var _ postgres.Dispatcher = (*Dispatcher)(nil)

// keepFor is how long Redis keeps tickets after the latest of their kind and queue.
const keepFor = 24 * time.Hour

// Open returns a dispatcher on the Redis at an address, host:port or a URL (redis:// or rediss://). It does not wait for Redis, which
// may come and go at any time. Opts may be nil.
func Open(address string, opts *Options) (*Dispatcher, error) {
	d := &Dispatcher{}
	if opts != nil {
		d.options = *opts
	}
	if d.options.Prefix == "" {
		d.options.Prefix = "errand"
	}
	if d.options.Keep <= 0 {
		d.options.Keep = 10_000
	}
	if strings.Contains(address, "://") {
		client, err := rueidis.ParseURL(address)
		if err != nil {
			return nil, fmt.Errorf("redis: %w address: use host:port or redis://user:password@host:port/db", errand.ErrInvalid)
		}
		d.client = client
	} else {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return nil, fmt.Errorf("redis: %w address %q: use host:port or redis://user:password@host:port/db", errand.ErrInvalid, address)
		}
		d.client = rueidis.ClientOption{InitAddress: []string{address}}
	}
	c := &d.client
	if d.options.Username != "" {
		c.Username = d.options.Username
	}
	if d.options.Password != "" {
		c.Password = d.options.Password
	}
	if d.options.DB != 0 {
		c.SelectDB = d.options.DB
	}
	c.ClientName = "errand"
	c.DisableCache, c.DisableRetry, c.ForceSingleClient = true, true, true
	c.ConnWriteTimeout, c.Dialer.Timeout = time.Second, time.Second
	d.connect()
	return d, nil
}

var errNotConnected = errors.New("redis: not connected")

// get returns the client, or begins to make one.
func (d *Dispatcher) get() (rueidis.Client, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return nil, errors.New("redis: closed")
	case d.current != nil:
		return d.current, nil
	case !d.dialing:
		d.dialing = true
		go d.dial()
	}
	return nil, errNotConnected
}

// connect makes the first client, and gives up soon: get tries again.
func (d *Dispatcher) connect() {
	d.dialing = true
	d.dial()
}

func (d *Dispatcher) dial() {
	c, err := rueidis.NewClient(d.client)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dialing = false
	switch {
	case err != nil:
	case d.closed:
		c.Close()
	default:
		d.current = c
	}
}

// Name implements [postgres.Dispatcher].
func (d *Dispatcher) Name() string { return "redis" }

// Close implements [postgres.Dispatcher].
func (d *Dispatcher) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current != nil && !d.closed {
		d.current.Close()
	}
	d.closed = true
	return nil
}

// A line is a sorted set: the tickets of one kind in one queue, all with one score, so that their texts order them.
func (d *Dispatcher) line(queue, kind string) string {
	return d.options.Prefix + ":ready:" + strconv.Itoa(len(queue)) + ":" + queue + ":" + kind
}

// encode writes what a ticket has besides its line, so that texts sort as the jobs should start.
func encode(t *postgres.Ticket) string {
	var b [18]byte
	put(b[0:2], uint64(32767-t.Priority))
	put(b[2:10], uint64(t.Due.UnixMicro())^1<<63)
	put(b[10:18], uint64(t.Seq))
	return hex.EncodeToString(b[:])
}

func decode(text string, t *postgres.Ticket) error {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != 18 {
		return fmt.Errorf("redis: %q is no ticket", text)
	}
	t.Priority = 32767 - int(get(b[0:2]))
	t.Due = time.UnixMicro(int64(get(b[2:10]) ^ 1<<63)).UTC()
	t.Seq = int64(get(b[10:18]))
	return nil
}

func put(b []byte, n uint64) {
	for i := range b {
		b[len(b)-1-i] = byte(n >> (8 * i))
	}
}

func get(b []byte) (n uint64) {
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return n
}

// atOnce is how many tickets one command carries.
const atOnce = 1000

// lines calls f with up to atOnce tickets of one line at a time.
func (d *Dispatcher) lines(tickets []postgres.Ticket, f func(line string, members []string)) {
	byLine := map[string][]string{}
	for i := range tickets {
		line := d.line(tickets[i].Queue, tickets[i].Kind)
		byLine[line] = append(byLine[line], encode(&tickets[i]))
	}
	for line, members := range byLine {
		for part := range slices.Chunk(members, atOnce) {
			f(line, part)
		}
	}
}

// offer adds tickets to a line and drops the last beyond what it keeps.
var offer = rueidis.NewLuaScript(`
	local args = {}
	for i = 3, #ARGV do args[#args + 1] = 0; args[#args + 1] = ARGV[i] end
	redis.call('ZADD', KEYS[1], unpack(args))
	local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[1])
	if over > 0 then redis.call('ZPOPMAX', KEYS[1], over) end
	redis.call('PEXPIRE', KEYS[1], ARGV[2])
	return 0`)

// Offer implements [postgres.Dispatcher].
func (d *Dispatcher) Offer(ctx context.Context, tickets []postgres.Ticket) error {
	c, err := d.get()
	if err != nil {
		return err
	}
	d.lines(tickets, func(line string, members []string) {
		args := append([]string{strconv.Itoa(d.options.Keep), strconv.FormatInt(keepFor.Milliseconds(), 10)}, members...)
		if err == nil {
			err = offer.Exec(ctx, c, []string{line}, args).Error()
		}
	})
	return d.wrap(err)
}

// take removes the first tickets of several lines, and answers the number of the line and the ticket, in turn.
var take = rueidis.NewLuaScript(`
	local limit = tonumber(ARGV[1])
	local found = {}
	for i, line in ipairs(KEYS) do
		for _, member in ipairs(redis.call('ZRANGE', line, 0, limit - 1)) do found[#found + 1] = {member, i} end
	end
	if #KEYS > 1 then table.sort(found, function(a, b) return a[1] < b[1] end) end
	local answer, used = {}, {}
	for n = 1, math.min(limit, #found) do
		local member, i = found[n][1], found[n][2]
		answer[#answer + 1] = i
		answer[#answer + 1] = member
		used[i] = (used[i] or 0) + 1
	end
	for i, n in pairs(used) do redis.call('ZPOPMIN', KEYS[i], n) end
	return answer`)

// Take implements [postgres.Dispatcher].
func (d *Dispatcher) Take(ctx context.Context, lanes []errand.Lane) ([][]postgres.Ticket, error) {
	c, err := d.get()
	if err != nil {
		return nil, err
	}
	out := make([][]postgres.Ticket, len(lanes))
	for i, l := range lanes {
		if l.Limit <= 0 {
			continue
		}
		keys := make([]string, len(l.Kinds))
		for k, kind := range l.Kinds {
			keys[k] = d.line(l.Queue, kind)
		}
		answer, err := take.Exec(ctx, c, keys, []string{strconv.Itoa(l.Limit)}).ToArray()
		if err != nil {
			return nil, d.wrap(err)
		}
		for k := 0; k+1 < len(answer); k += 2 {
			line, err1 := answer[k].AsInt64()
			text, err2 := answer[k+1].ToString()
			t := postgres.Ticket{Queue: l.Queue}
			if err := errors.Join(err1, err2, decode(text, &t)); err != nil {
				return nil, d.wrap(err)
			}
			t.Kind = l.Kinds[line-1]
			out[i] = append(out[i], t)
		}
	}
	return out, nil
}

// Withdraw implements [postgres.Dispatcher].
func (d *Dispatcher) Withdraw(ctx context.Context, tickets []postgres.Ticket) error {
	c, err := d.get()
	if err != nil {
		return err
	}
	var commands []rueidis.Completed
	d.lines(tickets, func(line string, members []string) {
		commands = append(commands, c.B().Zrem().Key(line).Member(members...).Build())
	})
	for _, r := range c.DoMulti(ctx, commands...) {
		if err := r.Error(); err != nil {
			return d.wrap(err)
		}
	}
	return nil
}

// Publish implements [postgres.Dispatcher].
func (d *Dispatcher) Publish(ctx context.Context, name, text string) error {
	c, err := d.get()
	if err != nil {
		return err
	}
	return d.wrap(c.Do(ctx, c.B().Publish().Channel(d.options.Prefix+":"+name).Message(text).Build()).Error())
}

// Subscribe implements [postgres.Dispatcher].
func (d *Dispatcher) Subscribe(ctx context.Context, name string, joined func(), f func(text string)) error {
	c, err := d.get()
	if err != nil {
		return err
	}
	dedicated, release := c.Dedicate()
	defer release()
	ended := dedicated.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: func(m rueidis.PubSubMessage) { f(m.Message) },
		OnSubscription: func(s rueidis.PubSubSubscription) {
			if s.Kind == "subscribe" {
				joined()
			}
		},
	})
	subscribe := dedicated.B().Subscribe().Channel(d.options.Prefix + ":" + name).Build()
	if err := dedicated.Do(ctx, subscribe).Error(); err != nil {
		return d.wrap(err)
	}
	select {
	case err := <-ended:
		return d.wrap(err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *Dispatcher) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("redis: %w", err)
}
