package server

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/errandhq/errand"
)

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		if _, err := New(errand.New(errand.Memory(nil), nil), nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreate(b *testing.B) {
	s, err := New(errand.New(errand.Memory(nil), nil), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "http://localhost/api/v1/jobs", strings.NewReader(`{"kind":"echo","args":{"to":"somebody","text":"sixty bytes of json"}}`))
		s.ServeHTTP(w, r)
		if w.Code != 201 {
			b.Fatal(w.Body)
		}
	}
}

func BenchmarkBatch(b *testing.B) {
	s, err := New(errand.New(errand.Memory(nil), nil), nil)
	if err != nil {
		b.Fatal(err)
	}
	body := `{"jobs":[` + strings.Repeat(`{"kind":"echo","args":{"to":"somebody","text":"sixty bytes of json"}},`, 999) + `{"kind":"echo"}]}`
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("POST", "http://localhost/api/v1/jobs/batch", strings.NewReader(body)))
		if w.Code != 201 {
			b.Fatal(w.Body)
		}
	}
}
