package cron

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"os"
	"strings"
	"time"
)

// Logger is where a Cron logs; part of that of github.com/go-logr/logr.
type Logger interface {
	// Info logs what goes on.
	Info(msg string, keysAndValues ...any)
	// Error logs what has failed.
	Error(err error, msg string, keysAndValues ...any)
}

// DefaultLogger logs errors to the standard output.
var DefaultLogger Logger = PrintfLogger(log.New(os.Stdout, "cron: ", log.LstdFlags))

// DiscardLogger logs nothing.
var DiscardLogger Logger = PrintfLogger(log.New(io.Discard, "", 0))

// PrintfLogger logs errors, and nothing else, to a logger such as those of package log.
func PrintfLogger(l interface{ Printf(string, ...any) }) Logger { return printfLogger{l, false} }

// VerbosePrintfLogger logs everything to a logger such as those of package log.
func VerbosePrintfLogger(l interface{ Printf(string, ...any) }) Logger { return printfLogger{l, true} }

type printfLogger struct {
	logger  interface{ Printf(string, ...any) }
	verbose bool
}

func (l printfLogger) Info(msg string, keysAndValues ...any) {
	if l.verbose {
		l.print(msg, keysAndValues)
	}
}

func (l printfLogger) Error(err error, msg string, keysAndValues ...any) {
	l.print(msg, append([]any{"error", err}, keysAndValues...))
}

func (l printfLogger) print(msg string, pairs []any) {
	values := []any{msg}
	for _, v := range pairs {
		if t, ok := v.(time.Time); ok {
			v = t.Format(time.RFC3339)
		}
		values = append(values, v)
	}
	l.logger.Printf("%s"+strings.Repeat(", %v=%v", len(pairs)/2), values[:1+len(pairs)/2*2]...)
}

// logHandler gives a Logger what an engine of the Cron's own logs: what goes wrong as errors, and nothing else.
type logHandler struct {
	logger Logger
	attrs  []any
}

func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn
}

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	pairs := h.attrs
	r.Attrs(func(a slog.Attr) bool {
		pairs = append(pairs[:len(pairs):len(pairs)], a.Key, a.Value.Any())
		return true
	})
	h.logger.Error(errors.New(r.Message), "errand", pairs...)
	return nil
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	pairs := h.attrs
	for _, a := range attrs {
		pairs = append(pairs[:len(pairs):len(pairs)], a.Key, a.Value.Any())
	}
	return &logHandler{h.logger, pairs}
}

func (h *logHandler) WithGroup(string) slog.Handler { return h }
