package cron_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/errandhq/errand/cron"
)

func Example() {
	s, err := cron.Parse("TZ=America/New_York 30 2 * * MON-FRI")
	if err != nil {
		panic(err)
	}
	fmt.Println(s.Describe())
	fmt.Println(s.Next(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)))
	// Output:
	// At 02:30, Monday to Friday, New York time
	// 2026-01-02 02:30:00 -0500 EST
}

func ExampleParse_error() {
	_, err := cron.Parse("0 25 * * *")
	fmt.Println(err)

	var e *cron.ParseError
	if errors.As(err, &e) {
		fmt.Println(e.Field, e.Column)
	}
	// Output:
	// cron: hour, column 3 of "0 25 * * *": 25 is outside 0-23
	// hour 3
}

// The zone of the spec comes before that of the caller.
func ExampleIn() {
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	if err != nil {
		panic(err)
	}
	for _, spec := range []string{"0 7 * * *", "TZ=Europe/London 0 7 * * *"} {
		s, err := cron.Parse(spec, cron.In(tokyo))
		if err != nil {
			panic(err)
		}
		fmt.Println(s.Describe())
	}
	// Output:
	// At 07:00, every day, Tokyo time
	// At 07:00, every day, London time
}

func ExampleHashOf() {
	for _, name := range []string{"backup", "digest", "report"} {
		s, err := cron.Parse("H H(0-5) * * *", cron.HashOf(name))
		if err != nil {
			panic(err)
		}
		fmt.Println(s.Describe())
	}
	// Output:
	// At 01:33, every day, UTC
	// At 03:37, every day, UTC
	// At 05:22, every day, UTC
}

// On 8 March 2026 the clocks of New York go from 02:00 to 03:00.
func ExampleSchedule_Next() {
	after := time.Date(2026, 3, 8, 5, 0, 0, 0, time.UTC) // midnight in New York
	for _, spec := range []string{"30 2 * * *", "*/30 2 * * *", "30 * * * *"} {
		s, err := cron.Parse("TZ=America/New_York " + spec)
		if err != nil {
			panic(err)
		}
		at := s.Next(after)
		fmt.Println(at.Format("2 15:04 MST"), "|", s.Next(at).Format("2 15:04 MST"), "|", s.Next(s.Next(at)).Format("2 15:04 MST"))
	}
	// Output:
	// 8 03:00 EDT | 9 02:30 EDT | 10 02:30 EDT
	// 9 02:00 EDT | 9 02:30 EDT | 10 02:00 EDT
	// 8 00:30 EST | 8 01:30 EST | 8 03:30 EDT
}

func ExampleSchedule_Prev() {
	s, err := cron.Parse("0 0 29 2 ?")
	if err != nil {
		panic(err)
	}
	fmt.Println(s.Prev(time.Date(2104, 2, 29, 0, 0, 0, 0, time.UTC)))
	// Output: 2096-02-29 00:00:00 +0000 UTC
}

func ExampleSchedule_All() {
	s, err := cron.Parse("0 18 LW * ?")
	if err != nil {
		panic(err)
	}
	n := 0
	for at := range s.All(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) {
		fmt.Println(at.Format("Mon 2 Jan 2006, 15:04"))
		if n++; n == 3 {
			break
		}
	}
	// Output:
	// Fri 30 Jan 2026, 18:00
	// Fri 27 Feb 2026, 18:00
	// Tue 31 Mar 2026, 18:00
}

func ExampleSchedule_Describe() {
	for _, spec := range []string{"*/15 9-17 * * MON-FRI", "0 0 13 * FRI", "0 0 */2 * MON", "0 6 1,15W,L * *", "@every 90m"} {
		s, err := cron.Parse(spec)
		if err != nil {
			panic(err)
		}
		fmt.Println(s.Describe())
	}
	// Output:
	// Every 15 minutes from 09:00 to 17:59, Monday to Friday, UTC
	// At 00:00, on day 13 of the month, or on Friday, UTC
	// At 00:00, on every 2nd day from 1 to 31 of the month and only on Monday, UTC
	// At 06:00, on day 1, the last day and the weekday nearest to day 15 of the month, UTC
	// Every 1 hour 30 minutes
}
