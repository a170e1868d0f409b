package certs

import (
	"context"
	"fmt"
	"time"
)

// leaseTime is how long a lease outlives a holder that died.
const leaseTime = 45 * time.Second

// Acquire takes a lease, or takes over one that has run out; false: somebody else has it, perhaps another of this process.
func (s *Store) Acquire(ctx context.Context, name string) (bool, error) {
	tag, err := s.pool.Exec(ctx, `
		INSERT INTO acme_locks AS l (name, holder, expires_at) VALUES ($1, $2, now() + $3)
		ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at WHERE l.expires_at < now()`,
		name, s.holder, leaseTime)
	if err != nil {
		return false, fmt.Errorf("take the lease %s: %w", name, err)
	}
	return tag.RowsAffected() == 1, nil
}

// Extend keeps a lease until its owner ends; false: it was lost.
func (s *Store) Extend(ctx context.Context, name string) (bool, error) {
	tag, err := s.pool.Exec(ctx, `UPDATE acme_locks SET expires_at = now() + $3 WHERE name = $1 AND holder = $2`, name, s.holder, leaseTime)
	if err != nil {
		return false, fmt.Errorf("keep the lease %s: %w", name, err)
	}
	return tag.RowsAffected() == 1, nil
}

// Release gives a lease back. One that was lost stays with whom it has gone to.
func (s *Store) Release(ctx context.Context, name string) error {
	if _, err := s.pool.Exec(ctx, `DELETE FROM acme_locks WHERE name = $1 AND holder = $2`, name, s.holder); err != nil {
		return fmt.Errorf("give the lease %s back: %w", name, err)
	}
	return nil
}

// Hold takes a lease and keeps it while do runs, whose context ends when the lease is lost. taken is false when somebody else has it, and
// nothing was done.
func (s *Store) Hold(ctx context.Context, name string, do func(context.Context) error) (taken bool, err error) {
	if taken, err = s.Acquire(ctx, name); err != nil || !taken {
		return false, err
	}
	holding, cancel := context.WithCancel(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		s.keep(holding, cancel, name)
	}()
	err = do(holding)
	cancel()
	<-kept
	releasing, cancelRelease := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancelRelease()
	if releaseErr := s.Release(releasing, name); err == nil {
		err = releaseErr
	}
	return true, err
}

// keep extends a lease until ctx ends, and calls lost when it can't: nobody can say then whether another has it.
func (s *Store) keep(ctx context.Context, lost context.CancelFunc, name string) {
	tick := time.NewTicker(leaseTime / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			asking, cancel := context.WithTimeout(ctx, leaseTime/3)
			held, err := s.Extend(asking, name)
			cancel()
			if err != nil || !held {
				lost()
				return
			}
		}
	}
}
