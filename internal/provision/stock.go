package provision

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"controlplane/internal/secrets"
)

const (
	stockSize      = 10
	passwordLength = 20
)

// stock is administrators' passwords that were hashed when there was nothing better to do: a hash takes half a second that a customer
// would otherwise wait for. It lives in memory only; what it lacks is hashed on the spot.
type stock struct {
	mu     sync.Mutex
	unused []secrets.Secret
	hashes map[secrets.Secret]string // of unused ones, and of those that were taken and whose hash nobody has asked for yet
}

func newStock() *stock { return &stock{hashes: map[secrets.Secret]string{}} }

// take returns a password whose hash is known.
func (s *stock) take() (secrets.Secret, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unused) == 0 {
		return "", false
	}
	password := s.unused[0]
	s.unused = s.unused[1:]
	return password, true
}

// hash returns the hash of any password.
func (s *stock) hash(password secrets.Secret) (string, error) {
	s.mu.Lock()
	hash, ok := s.hashes[password]
	s.mu.Unlock()
	if ok {
		return hash, nil
	}
	return HashPassword(password)
}

// missing reports how many passwords the stock lacks. Hashes of passwords that were given away long ago are forgotten.
func (s *stock) missing() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.hashes) > 10*stockSize {
		kept := map[secrets.Secret]string{}
		for _, password := range s.unused {
			kept[password] = s.hashes[password]
		}
		s.hashes = kept
	}
	return stockSize - len(s.unused)
}

func (s *stock) add(password secrets.Secret, hash string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unused = append(s.unused, password)
	s.hashes[password] = hash
}

// ensureSpares makes, while no customer waits, what would otherwise be made while one does: clones of the templates in use, and hashed
// passwords.
func (s *Service) ensureSpares(ctx context.Context) error {
	wanted, err := s.wantedSpares(ctx)
	if err != nil {
		return err
	}
	for range s.stock.missing() {
		if busy, err := s.busy(ctx); busy || err != nil {
			return err
		}
		password := secrets.RandomPassword(passwordLength)
		hash, err := HashPassword(password)
		if err != nil {
			return err
		}
		s.stock.add(password, hash)
	}
	for _, template := range slices.Sorted(maps.Keys(wanted)) {
		if busy, err := s.busy(ctx); busy || err != nil {
			return err
		}
		if err := s.database.EnsureSpares(ctx, template, wanted[template]); err != nil {
			return err
		}
	}
	return nil
}

// wantedSpares is how many spares each ready template should have: none, once its image or its apps are no longer what new clients get.
func (s *Service) wantedSpares(ctx context.Context) (map[string]int, error) {
	ready, err := queryTemplates(ctx, s.pool, "WHERE state = 'ready'")
	if err != nil {
		return nil, err
	}
	used, err := s.usedTemplates(ctx)
	if err != nil {
		return nil, err
	}
	wanted := make(map[string]int, len(ready))
	for _, t := range ready {
		wanted[t.Name] = 0
	}
	for _, t := range used {
		wanted[t.Name] = s.opts.Spares
	}
	return wanted, nil
}

// busy reports whether anything is being provisioned or built.
func (s *Service) busy(ctx context.Context) (bool, error) {
	var busy bool
	err := s.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM operations WHERE state = 'running' AND kind IN ($1, $2))", ProvisionKind, BuildKind).Scan(&busy)
	if err != nil {
		return false, fmt.Errorf("look for running operations: %w", err)
	}
	return busy, nil
}
