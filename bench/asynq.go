package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// asynqSetting is what differs between asynq's columns.
type asynqSetting struct {
	check    time.Duration // between looks for jobs when there was none, 0 is asynq's default
	slots    int           // number of workers, 0 is as the row says
	conns    int           // limit of each pool, 0 is go-redis's default
	parallel int           // goroutines that enqueue a batch
}

// asynqSystems are asynq, each column with a Redis of its own.
func asynqSystems(servers *servers) []System {
	column := func(name, note string, setting asynqSetting, redisArgs ...string) System {
		home := newRedisHome(servers, redisArgs...)
		return System{
			Group: postgresGroup, Name: name, Note: note, Home: home,
			Open: func(dir string, workers int) (Instance, error) { return openAsynq(home, dir, workers, setting) },
		}
	}
	best := asynqSetting{check: time.Millisecond, slots: 16, conns: 32, parallel: 32}
	return []System{
		column("asynq", "on Redis without AOF and snapshots: an acknowledged job is NOT safe against a crash of Redis; defaults, Concurrency as the row says, batches by 16 goroutines",
			asynqSetting{parallel: 16}),
		column("asynq best", "the same Redis: NOT safe; TaskCheckInterval and DelayedTaskCheckInterval 1 ms, 16 workers whatever the row says, batches by 32 goroutines", best),
		column("asynq synced", "as asynq best, Redis with appendfsync=always: as safe as PostgreSQL", best, "--appendonly", "yes", "--appendfsync", "always"),
	}
}

type asynqQueue struct {
	redis    redis.UniversalClient
	client   *asynq.Client
	server   *asynq.Server
	parallel int
	started  bool
}

func openAsynq(home *redisHome, dir string, workers int, setting asynqSetting) (*asynqQueue, error) {
	addr, err := home.addr(dir)
	if err != nil {
		return nil, err
	}
	level := asynq.FatalLevel
	if peerLog.Enabled(context.Background(), slog.LevelWarn) {
		level = asynq.WarnLevel
	}
	if setting.slots > 0 {
		workers = setting.slots
	}
	options := asynq.RedisClientOpt{Addr: addr, PoolSize: setting.conns}
	return &asynqQueue{
		redis:  redis.NewClient(&redis.Options{Addr: addr}),
		client: asynq.NewClient(options),
		server: asynq.NewServer(options, asynq.Config{
			Concurrency: workers, TaskCheckInterval: setting.check, DelayedTaskCheckInterval: setting.check, LogLevel: level,
		}),
		parallel: setting.parallel,
	}, nil
}

func (q *asynqQueue) Enqueue(ctx context.Context, job Job) error {
	_, err := q.client.EnqueueContext(ctx, asynq.NewTask("mail", job.JSON))
	return err
}

// EnqueueMany enqueues from several goroutines: asynq knows no batches, and
// go-redis shares no round trips between calls.
func (q *asynqQueue) EnqueueMany(ctx context.Context, jobs []Job) error {
	errs := make([]error, q.parallel)
	var all sync.WaitGroup
	for p := range errs {
		all.Go(func() {
			for _, job := range jobs[p*len(jobs)/q.parallel : (p+1)*len(jobs)/q.parallel] {
				errs[p] = firstOf(errs[p], q.Enqueue(ctx, job))
			}
		})
	}
	all.Wait()
	return firstOf(errs...)
}

func (q *asynqQueue) Start(_ context.Context, handle func(Args)) error {
	q.started = true
	return q.server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		handle(decode(task.Payload()))
		return nil
	}))
}

// Settle waits until no job is active: each is so until it is recorded as done.
func (q *asynqQueue) Settle(ctx context.Context) error {
	for {
		active, err := q.redis.LLen(ctx, "asynq:{default}:active").Result()
		if err != nil || active == 0 {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// asynqPreload writes the keys that asynq writes, for the jobs from ARGV[1] to
// ARGV[2]; ARGV[3] and ARGV[4] are a job's message before and after its ID.
const asynqPreload = `
for i = ARGV[1], ARGV[2] do
	local id = string.format('00000000-0000-4000-8000-%012x', i)
	redis.call('HSET', KEYS[1] .. 't:' .. id, 'msg', ARGV[3] .. id .. ARGV[4], 'state', ARGV[5])
	if ARGV[5] == 'pending' then
		redis.call('HSET', KEYS[1] .. 't:' .. id, 'pending_since', 1)
		redis.call('LPUSH', KEYS[1] .. 'pending', id)
	else
		redis.call('ZADD', KEYS[1] .. ARGV[5], ARGV[6], id)
	end
end`

func (q *asynqQueue) Preload(ctx context.Context, state string, n int) error {
	queue, far := "default", time.Now().AddDate(10, 0, 0)
	switch state {
	case finished:
		state = "completed"
	case unworked:
		state, queue = "pending", "unworked"
	}
	before, after, err := q.message(ctx, queue, far)
	if err != nil {
		return err
	}
	const step = 10_000
	for first := 1; first <= n; first += step {
		err := q.redis.Eval(ctx, asynqPreload, []string{"asynq:{" + queue + "}:"},
			first, min(first+step-1, n), before, after, state, far.Unix()).Err()
		if err != nil && err != redis.Nil {
			return err
		}
	}
	return nil
}

// message is what asynq stores of a job, before and after its ID.
func (q *asynqQueue) message(ctx context.Context, queue string, due time.Time) (before, after []byte, err error) {
	const id = "00000000-0000-4000-8000-000000000000"
	_, err = q.client.EnqueueContext(ctx, asynq.NewTask("mail", encode(sampleArgs)),
		asynq.Queue(queue), asynq.TaskID(id), asynq.ProcessAt(due), asynq.Retention(24*time.Hour))
	if err != nil {
		return nil, nil, err
	}
	prefix := "asynq:{" + queue + "}:"
	message, err := q.redis.HGet(ctx, prefix+"t:"+id, "msg").Bytes()
	if err != nil {
		return nil, nil, err
	}
	before, after, ok := bytes.Cut(message, []byte(id))
	if !ok {
		return nil, nil, fmt.Errorf("asynq: no ID in message %q", message)
	}
	return before, after, firstOf(q.redis.Del(ctx, prefix+"t:"+id).Err(), q.redis.ZRem(ctx, prefix+"scheduled", id).Err())
}

func (q *asynqQueue) Close() error {
	if q.started {
		q.server.Shutdown()
	}
	return firstOf(q.client.Close(), q.redis.Close())
}
