package main

import (
	"log/slog"
	"os"
)

// newLogger writes to standard error: text, since a service manager or dev adds what else is wanted.
func newLogger(level, process string) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil { // config allows only known levels
		l = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l})).With("process", process)
}
