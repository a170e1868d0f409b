package opstest

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
)

var errSevered = errors.New("this worker is dead")

// severed is a database pool whose connections, and those made from its configuration, can all be broken at once, after which no
// new ones are made: to the server it is the death of a process.
type severed struct {
	pool   *pgxpool.Pool
	closed sync.WaitGroup

	mu    sync.Mutex
	dead  bool
	conns []net.Conn
}

// severable returns a pool on the same database as pool.
func severable(t *testing.T, pool *pgxpool.Pool) *severed {
	t.Helper()
	s := &severed{}
	cfg := pool.Config()
	cfg.ConnConfig.DialFunc = s.dial
	var err error
	s.pool, err = pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	return s
}

func (s *severed) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return nil, errors.Join(errSevered, conn.Close())
	}
	s.conns = append(s.conns, conn)
	return conn, nil
}

// cut breaks the connections. The pool is closed too, so that the queue doesn't spend seconds on trying again.
func (s *severed) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return
	}
	s.dead = true
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.closed.Go(s.pool.Close)
}

// bury ends an engine that has no database any more, as far as that goes.
func (s *severed) bury(e *ops.Engine) {
	s.cut()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = e.Stop(ctx)
	s.closed.Wait()
}
