package errand

import (
	"encoding/json"
	"sync"
	"testing"
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
