package errand

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

func TestScratch(t *testing.T) {
	e := New(Memory(nil), nil)
	k := Define[int, string]("double")
	k.Handle(e, func(ctx context.Context, n int) (string, error) { return fmt.Sprint(2 * n), nil })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- e.Run(ctx) }()
	for i := range 10 {
		h, err := k.Enqueue(ctx, e, i)
		if err != nil {
			t.Fatal(err)
		}
		s, err := h.Wait(ctx)
		if err != nil || s != fmt.Sprint(2*i) {
			t.Fatal(s, err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func BenchmarkLife(b *testing.B) {
	e := New(Memory(nil), nil)
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
