package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	firstRetry     = 100 * time.Millisecond
	longestRetry   = 5 * time.Second
	connectTimeout = 5 * time.Second
)

// Run listens until ctx ends, and connects again whenever the connection breaks. While it can't, followers read when they like.
func (f *Feed) Run(ctx context.Context) {
	retry := firstRetry
	for ctx.Err() == nil {
		heard, err := f.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		if heard {
			retry = firstRetry
		}
		f.log.WarnContext(ctx, "events aren't heard of", "error", err, "retry_in", retry)
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
		retry = min(retry*2, longestRetry)
	}
}

// listen has a connection of its own, not one of the pool's. It wakes everybody once it listens: what was missed until then is read
// now. heard tells whether it came so far.
func (f *Feed) listen(ctx context.Context) (heard bool, err error) {
	conn, err := f.connect(ctx)
	if err != nil {
		return false, err
	}
	defer func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		defer cancel()
		_ = conn.Close(bounded)
	}()
	f.wakeAll()
	for {
		if err := f.next(ctx, conn); err != nil {
			return true, err
		}
	}
}

func (f *Feed) connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, f.pool.Config().ConnConfig)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	if _, err := conn.Exec(ctx, "LISTEN event_feed"); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("listen for events: %w", err)
	}
	return conn, nil
}

// next waits for one notification. When none comes for a while it makes sure that the connection is alive.
func (f *Feed) next(ctx context.Context, conn *pgx.Conn) error {
	waiting, cancel := context.WithTimeout(ctx, f.opts.Resync)
	defer cancel()
	n, err := conn.WaitForNotification(waiting)
	switch {
	case err == nil:
		f.tell(n.Payload)
		return nil
	case ctx.Err() == nil && errors.Is(waiting.Err(), context.DeadlineExceeded) && !conn.IsClosed():
		return f.ping(ctx, conn)
	}
	return fmt.Errorf("wait for events: %w", err)
}

func (f *Feed) ping(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := conn.Ping(ctx); err != nil {
		return fmt.Errorf("try the listening connection: %w", err)
	}
	return nil
}
