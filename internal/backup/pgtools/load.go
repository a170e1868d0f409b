package pgtools

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"controlplane/internal/backup"
	"controlplane/internal/backup/odoozip"
)

const (
	// answerBytes bounds what the server may send at a time: a script of a stranger may ask it for anything.
	answerBytes = 1 << 20
	// sizeEvery is how often is looked how large a database has become.
	sizeEvery = 2 * time.Second
	// longestLoad is far longer than what a plan has room for takes. A script of a stranger may well never end.
	longestLoad = 3 * time.Hour
	// loadSettings come first: what is lost in a crash is loaded again, and nobody reads notices.
	loadSettings, settings = "SET synchronous_commit = off; SET client_min_messages = error;\n", 2
	// unknownSetting is what an older server says to a newer one's settings, which a dump only begins with.
	unknownSetting = "42704"
)

// Load runs a plain dump, made by whomever, as the role that owns the database: it can do what that tenant could do anyway. No psql is
// involved, so that there is nothing but SQL, which only the server interprets. A database that becomes larger than most bytes is given up.
func (s *Server) Load(ctx context.Context, a backup.Access, script io.Reader, most int64) error {
	conn, err := s.connect(ctx, a)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	conn.PgConn().Frontend().SetMaxBodyLen(answerBytes)
	watcher, err := s.connect(ctx, a)
	if err != nil {
		return err
	}
	defer closeConn(ctx, watcher)
	ctx, stop := context.WithTimeoutCause(ctx, longestLoad, backup.ErrImportLong)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if err := watchSize(ctx, watcher, most); err != nil {
			cancel(err)
		}
	}()
	err = load(ctx, conn.PgConn(), script)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	cancel(nil)
	<-watched
	return err
}

func closeConn(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// watchSize returns odoozip.ErrTooLarge once the database is, and nil with ctx. That it can't look is an error: a script may end its session,
// to fill the server's disk unseen.
func watchSize(ctx context.Context, conn *pgx.Conn, most int64) error {
	tick := time.NewTicker(sizeEvery)
	defer tick.Stop()
	for {
		var size int64
		err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())").Scan(&size)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return classify(fmt.Errorf("look how large the database has become: %w", err))
		case size > most:
			return odoozip.ErrTooLarge.WithCause(fmt.Errorf("%d bytes of %d", size, most))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func load(ctx context.Context, conn *pgconn.PgConn, script io.Reader) error {
	statements := odoozip.NewScript(io.MultiReader(strings.NewReader(loadSettings), script))
	for n := -settings; ; n++ {
		statement, err := statements.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := run(ctx, conn, statement); err != nil {
			if err := failed(n+1, statement.SQL, err); err != nil {
				return err
			}
		}
	}
}

// run sends one statement. In the extended protocol the server takes no second one that we might not have seen.
func run(ctx context.Context, conn *pgconn.PgConn, statement odoozip.Statement) error {
	if statement.Rows == nil {
		_, err := conn.ExecParams(ctx, statement.SQL, nil, nil, nil, nil).Close()
		return err //nolint:wrapcheck // the caller says which statement it was
	}
	rows := &remembered{r: statement.Rows}
	_, err := conn.CopyFrom(ctx, rows, statement.SQL)
	return cmp.Or(rows.err, err) //nolint:wrapcheck // likewise
}

// failed says what came of a statement; nil if it doesn't matter.
func failed(n int, sql string, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return classify(fmt.Errorf("load statement %d: %w", n, err))
	}
	if pg.Code == unknownSetting && strings.EqualFold(sql[:min(len(sql), 4)], "SET ") {
		return nil
	}
	if away := classify(err); errors.Is(away, backup.ErrDatabaseUnreachable) {
		return away
	}
	return backup.ErrImportSQL.WithMessage("The database server refuses statement %d of dump.sql, with code %s.", n, pg.Code).
		WithCause(fmt.Errorf("%.80q: %w", sql, err))
}

// remembered keeps a reader's error.
type remembered struct {
	r   io.Reader
	err error
}

// Read reads on.
func (s *remembered) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
