package errand

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func BenchmarkChannel(b *testing.B) {
	ch := make(chan []byte, 1024)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for raw := range ch {
				var v struct{ A, B string }
				_ = json.Unmarshal(raw, &v)
			}
		})
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			raw, _ := json.Marshal(struct{ A, B string }{"some text of sixty", "bytes of json in all, roughly"})
			ch <- raw
		}
	})
	close(ch)
	wg.Wait()
}

func BenchmarkLife(b *testing.B) {
	e := New(Memory(nil), &Config{Log: slog.New(slog.DiscardHandler)})
	k := Define[struct{ A, B string }, None]("noop")
	var n atomic.Int64
	all := make(chan bool)
	k.Do(e, func(ctx context.Context, _ struct{ A, B string }) error {
		if n.Add(1) == int64(b.N) {
			close(all)
		}
		return nil
	})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- e.Run(ctx) }()
	time.Sleep(20 * time.Millisecond)
	b.ReportAllocs()
	b.ResetTimer()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := k.Enqueue(ctx, e, struct{ A, B string }{"some text of sixty", "bytes of json in all, roughly"}); err != nil {
				b.Fatal(err)
			}
		}
	})
	<-all
	b.StopTimer()
	cancel()
	<-done
}
