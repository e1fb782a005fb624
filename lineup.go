package errand

import (
	"container/heap"
	"slices"
	"time"
)

// lineup is a priority queue of records. Nearly all pushes come nearly in order, so those stand
// in a plain slice and only the others in a heap: push and pop cost next to nothing. A
// record that leaves stays as a stale place until it is met, or until stale places are
// the majority.
type lineup struct {
	first  []place // in order, from head on
	head   int
	others placeHeap
	stale  int
}

// place is where a record stands. It is stale when the record's stamp has moved on.
type place struct {
	rank  int64 // lower first
	at    int64 // then earlier first
	seq   int64 // then in the order of insertion
	r     *record
	stamp int64
}

func (p place) before(q place) bool {
	switch {
	case p.rank != q.rank:
		return p.rank < q.rank
	case p.at != q.at:
		return p.at < q.at
	}
	return p.seq < q.seq
}

func (p place) isStale() bool { return p.stamp != p.r.stamp }

// len is the number of valid places.
func (l *lineup) len() int { return len(l.first) - l.head + len(l.others) - l.stale }

func (l *lineup) push(p place) {
	i := len(l.first)
	for i > l.head && p.before(l.first[i-1]) {
		if i--; len(l.first)-i > 16 {
			heap.Push(&l.others, p)
			return
		}
	}
	if i == len(l.first) {
		l.first = append(l.first, p)
		return
	}
	l.first = slices.Insert(l.first, i, p)
}

// left counts a place that has become stale.
func (l *lineup) left() {
	if l.stale++; l.stale > 64 && l.stale > l.len() {
		l.compact()
	}
}

// compact drops stale places.
func (l *lineup) compact() {
	var first []place
	for _, p := range l.first[l.head:] {
		if !p.isStale() {
			first = append(first, p)
		}
	}
	others := l.others[:0]
	for _, p := range l.others {
		if !p.isStale() {
			others = append(others, p)
		}
	}
	clear(l.others[len(others):])
	heap.Init(&others)
	*l = lineup{first: first, others: others}
}

// peek returns the first valid place, after dropping the stale ones before it.
func (l *lineup) peek() (place, bool) {
	for l.head < len(l.first) && l.first[l.head].isStale() {
		l.behead()
		l.stale--
	}
	for len(l.others) > 0 && l.others[0].isStale() {
		heap.Pop(&l.others)
		l.stale--
	}
	switch {
	case l.head == len(l.first) && len(l.others) == 0:
		return place{}, false
	case l.head == len(l.first) || len(l.others) > 0 && l.others[0].before(l.first[l.head]):
		return l.others[0], true
	}
	return l.first[l.head], true
}

// behead drops the head of first, and the room before it once that is half of the slice.
func (l *lineup) behead() {
	l.first[l.head] = place{}
	l.head++
	if l.head == len(l.first) {
		l.first, l.head = l.first[:0], 0
		if cap(l.first) > 1<<16 {
			l.first = nil
		}
	} else if l.head > 1024 && l.head > len(l.first)/2 {
		n := copy(l.first, l.first[l.head:])
		clear(l.first[n:])
		l.first, l.head = l.first[:n], 0
	}
}

// oldest returns the earliest time of all valid places.
func (l *lineup) oldest() time.Time {
	var at int64
	for _, ps := range [][]place{l.first[l.head:], l.others} {
		for _, p := range ps {
			if !p.isStale() && (at == 0 || p.at < at) {
				at = p.at
			}
		}
	}
	if at == 0 {
		return time.Time{}
	}
	return time.UnixMicro(at).UTC()
}

// before returns how many valid places are before p, at most limit.
func (l *lineup) before(p place, limit int) int {
	n := 0
	for _, ps := range [][]place{l.first[l.head:], l.others} {
		for i := 0; i < len(ps) && n < limit; i++ {
			if !ps[i].isStale() && ps[i].before(p) {
				n++
			}
		}
	}
	return n
}

type placeHeap []place

func (h placeHeap) Len() int           { return len(h) }
func (h placeHeap) Less(i, j int) bool { return h[i].before(h[j]) }
func (h placeHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *placeHeap) Push(x any)        { *h = append(*h, x.(place)) }
func (h *placeHeap) Pop() any {
	old := *h
	n := len(old) - 1
	p := old[n]
	old[n] = place{}
	*h = old[:n]
	return p
}
