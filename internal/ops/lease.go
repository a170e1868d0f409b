package ops

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var (
	errLeaseLost = errors.New("the worker lost its lock")
	errStopped   = errors.New("the worker is being stopped")
)

const (
	leasePing        = time.Second     // between two signs of life on a connection that is otherwise silent
	leasePingTimeout = 3 * time.Second // for the answer
	leaseRetryMax    = 2 * time.Second // between two tries to get a lost lock back
)

// The locks are named by hashes, in SQL, so that the rescue can compute them from a holder's name.
const (
	lockHolder = `SELECT pg_advisory_lock(hashtextextended('operations/' || $1, 0))`
	lockLeader = `SELECT pg_try_advisory_lock(hashtextextended('operations leader', 0))`
)

// lease is the session advisory lock by which other workers see that this one lives. It is held on a connection of its own,
// outside the pool, for as long as that connection lasts; the server frees it at once when the process dies.
//
// What holds:
//   - A step runs only within a term, which is the time from taking the lock to losing it. When the connection breaks, the term's
//     context ends before the lock is asked for again, and so do the contexts of all steps. Work that is fetched
//     in between waits for the next term.
//   - A broken connection is noticed at once when the server closes it, since the lease always reads from it, and else after
//     leasePing + leasePingTimeout. The server gives a silent peer up only after about 25 seconds of TCP keepalives, so a
//     worker that is cut off stops before its lock is free.
//   - Between the server's freeing the lock and our noticing, another worker may take the operation over. It takes a newer token by
//     that, so of the two only the newer can write; steps are idempotent, so that a short overlap outside does no harm.
//
// A connection pooler in transaction mode breaks the first promise and can't be used.
type lease struct {
	config *pgx.ConnConfig
	holder string
	log    *slog.Logger
	lead   func(ctx context.Context) // called, without blocking, with the context of each leadership

	mu      sync.Mutex
	term    *term         // nil while the lock isn't held
	changed chan struct{} // closed, and replaced, when term changes
}

type term struct {
	ctx    context.Context //nolint:containedctx // it is the term's end that steps are told
	cancel context.CancelCauseFunc
}

func newLease(config *pgx.ConnConfig, holder string, log *slog.Logger, lead func(context.Context)) *lease {
	config = config.Copy()
	config.RuntimeParams["application_name"] += " lease"
	for name, value := range map[string]string{"idle": "10", "interval": "5", "count": "3"} {
		config.RuntimeParams["tcp_keepalives_"+name] = value
	}
	return &lease{config: config, holder: holder, log: log, lead: lead, changed: make(chan struct{})}
}

// acquire connects, takes the lock and begins a term.
func (l *lease) acquire(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, l.config)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if _, err := conn.Exec(ctx, lockHolder, l.holder); err != nil {
		hangUp(ctx, conn)
		return nil, fmt.Errorf("lock: %w", err)
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	l.set(&term{ctx: ctx, cancel: cancel})
	return conn, nil
}

// keep guards the lock and gets it back when it is lost, until ctx ends.
func (l *lease) keep(ctx context.Context, conn *pgx.Conn) {
	for {
		err := l.guard(ctx, conn)
		l.end(errLeaseLost)
		l.set(nil)
		hangUp(ctx, conn)
		if ctx.Err() != nil {
			return
		}
		l.log.WarnContext(ctx, "the worker's lock was lost, its steps are interrupted", "error", err)
		if conn = l.reacquire(ctx); conn == nil {
			return
		}
		l.log.InfoContext(ctx, "the worker's lock is held again")
	}
}

// reacquire tries until it has the lock, or returns nil when ctx ends.
func (l *lease) reacquire(ctx context.Context) *pgx.Conn {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, leaseRetryMax) {
		conn, err := l.acquire(ctx)
		if err == nil {
			return conn
		}
		l.log.DebugContext(ctx, "the worker's lock can't be had yet", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// guard returns when the connection is no longer good, or ctx ends. On the way it tries to become the leader.
func (l *lease) guard(ctx context.Context, conn *pgx.Conn) error {
	leadership, resign := context.WithCancel(ctx)
	defer resign()
	for leading := false; ; {
		if !leading {
			var err error
			if leading, err = tryLead(ctx, conn); err != nil {
				return err
			}
			if leading {
				l.lead(leadership)
			}
		}
		if err := silence(ctx, conn); err != nil {
			return err
		}
		if err := ping(ctx, conn); err != nil {
			return err
		}
	}
}

func tryLead(ctx context.Context, conn *pgx.Conn) (leading bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, leasePingTimeout)
	defer cancel()
	if err := conn.QueryRow(ctx, lockLeader).Scan(&leading); err != nil {
		return false, fmt.Errorf("ask for leadership: %w", err)
	}
	return leading, nil
}

func ping(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, leasePingTimeout)
	defer cancel()
	if err := conn.Ping(ctx); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return nil
}

// silence reads from a connection on which nothing is expected, for leasePing. An error means that it is broken or ctx has ended.
func silence(ctx context.Context, conn *pgx.Conn) error {
	reading, cancel := context.WithTimeout(ctx, leasePing)
	defer cancel()
	_, err := conn.WaitForNotification(reading)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil, pgconn.Timeout(err) && !conn.IsClosed():
		return nil
	default:
		return fmt.Errorf("read: %w", err)
	}
}

// wait returns the present term. While there is none it waits for the next, unless ctx ends or the worker is being stopped.
func (l *lease) wait(ctx context.Context, stopping <-chan struct{}) (*term, error) {
	for {
		l.mu.Lock()
		term, changed := l.term, l.changed
		l.mu.Unlock()
		if term != nil {
			return term, nil
		}
		select {
		case <-changed:
		case <-stopping:
			return nil, errStopped
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// end ends the present term, if any, for the steps that run in it.
func (l *lease) end(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term != nil {
		l.term.cancel(cause)
	}
}

func (l *lease) set(t *term) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term = t
	close(l.changed)
	l.changed = make(chan struct{})
}

// hangUp closes the connection without waiting long for a server that doesn't answer.
func hangUp(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}
