package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	firstRetry    = 100 * time.Millisecond
	longestRetry  = 5 * time.Second
	listenTimeout = 10 * time.Second // of whatever is asked on the listening connection
)

// Listener hears the notifications of channels, on a connection of its own that is made anew whenever it breaks. An error of one of its
// functions breaks it as well. All fields are needed.
type Listener struct {
	Config   *pgx.ConnConfig
	Channels []string // part of the SQL: constants of the program
	Log      *slog.Logger
	Interval time.Duration // between two calls of Sync, notifications or not

	// Sync is called once it listens, so that no change falls between reading and hearing, and again after each Interval, when it
	// must ask the server something: that finds out a connection which died silently.
	Sync func(ctx context.Context, conn *pgx.Conn, first bool) error
	// Notified is called for each notification.
	Notified func(ctx context.Context, conn *pgx.Conn, n *pgconn.Notification) error
	// Lost is called whenever the connection is gone or can't be had.
	Lost func()
}

// Run listens until ctx ends.
func (l Listener) Run(ctx context.Context) {
	retry := firstRetry
	for ctx.Err() == nil {
		synced, err := l.listen(ctx)
		l.Lost()
		if ctx.Err() != nil {
			return
		}
		if synced {
			retry = firstRetry
		}
		l.Log.WarnContext(ctx, "notifications of the database aren't heard", "channels", l.Channels, "error", err, "retry_in", retry)
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
		retry = min(retry*2, longestRetry)
	}
}

// listen returns when the connection is no longer good. synced tells whether Sync succeeded on it at all.
func (l Listener) listen(ctx context.Context) (synced bool, err error) {
	conn, err := l.connect(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = within(context.WithoutCancel(ctx), conn.Close) }()
	for {
		if err := within(ctx, func(ctx context.Context) error { return l.Sync(ctx, conn, !synced) }); err != nil {
			return synced, err
		}
		synced = true
		if err := l.follow(ctx, conn); err != nil {
			return synced, err
		}
	}
}

func (l Listener) connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, listenTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, l.Config)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	if _, err := conn.Exec(ctx, "LISTEN "+strings.Join(l.Channels, "; LISTEN ")); err != nil {
		_ = conn.Close(ctx)
		return nil, fmt.Errorf("listen: %w", err)
	}
	return conn, nil
}

// follow hands on notifications for an Interval.
func (l Listener) follow(ctx context.Context, conn *pgx.Conn) error {
	waiting, cancel := context.WithTimeout(ctx, l.Interval)
	defer cancel()
	for {
		n, err := conn.WaitForNotification(waiting)
		if err != nil {
			if ctx.Err() == nil && errors.Is(waiting.Err(), context.DeadlineExceeded) && !conn.IsClosed() {
				return nil
			}
			return fmt.Errorf("wait for notifications: %w", err)
		}
		if err := within(ctx, func(ctx context.Context) error { return l.Notified(ctx, conn, n) }); err != nil {
			return err
		}
	}
}

// within bounds what is asked of the server.
func within(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, listenTimeout)
	defer cancel()
	return do(ctx)
}
