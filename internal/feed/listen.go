package feed

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"controlplane/internal/postgres"
)

// Run listens until ctx ends, and connects again whenever the connection breaks. While it can't, followers read when they like.
func (f *Feed) Run(ctx context.Context) {
	postgres.Listener{
		Config: f.pool.Config().ConnConfig, Channels: []string{"event_feed"}, Log: f.log, Interval: f.opts.Resync,
		Sync: f.sync, Lost: func() {},
		Notified: func(_ context.Context, _ *pgx.Conn, n *pgconn.Notification) error { f.tell(n.Payload); return nil },
	}.Run(ctx)
}

// sync wakes everybody when a connection begins to listen, since nobody knows what was missed, and else only tries the connection.
func (f *Feed) sync(ctx context.Context, conn *pgx.Conn, first bool) error {
	if first {
		f.wakeAll()
		return nil
	}
	return conn.Ping(ctx)
}
