package server

import (
	"strings"
	"testing"
)

func TestMetrics(t *testing.T) {
	r := newRig(t, nil)
	r.do("POST", "/api/v1/jobs", `{"kind":"later","in":"1h","queue":"q \"x\""}`).want(201)
	r.do("POST", "/api/v1/queues/paused/pause", `{}`).want(204)
	r.do("PUT", "/api/v1/schedules/nightly", `{"spec":"@every 1h","job":{"kind":"none"}}`).want(201)
	if _, err := r.engine.RunSchedule(t.Context(), "nightly", [16]byte{}); err != nil {
		t.Fatal(err)
	}
	text := r.do("GET", "/metrics", "").want(200).body
	for _, line := range []string{
		`errand_jobs{kind="later",queue="q \"x\"",state="scheduled"} 1`,
		`errand_queue_oldest_ready_seconds{queue="q \"x\""} 0`,
		`errand_queue_paused{queue="paused"} 1`,
		`errand_workers 1`,
		`errand_schedules 1`,
		`errand_schedule_late_seconds{schedule="nightly"} 0`,
		`errand_schedule_overdue_seconds{schedule="nightly"} 0`,
		`errand_schedule_made_total{schedule="nightly"} 0`,
		`go_goroutines `,
	} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("there is no %s in\n%s", line, text)
		}
	}
}
