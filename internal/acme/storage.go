package acme

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"

	"controlplane/internal/certs"
)

// lockPoll is how often somebody else's lock is looked at.
const lockPoll = 300 * time.Millisecond

// storage is certmagic's storage on internal/certs.
type storage struct {
	store *certs.Store

	mu    sync.Mutex
	locks map[string]func() // by which Unlock ends a lock
}

func newStorage(store *certs.Store) *storage {
	return &storage{store: store, locks: map[string]func(){}}
}

// Store writes a file.
func (s *storage) Store(ctx context.Context, key string, value []byte) error {
	return s.store.WriteFile(ctx, key, value)
}

// Load reads a file.
func (s *storage) Load(ctx context.Context, key string) ([]byte, error) {
	value, err := s.store.ReadFile(ctx, key)
	if errors.Is(err, certs.ErrNotFound) {
		return nil, fs.ErrNotExist
	}
	return value, err
}

// Delete removes a file or a folder.
func (s *storage) Delete(ctx context.Context, key string) error {
	return s.store.RemoveFiles(ctx, key)
}

// Exists reports whether there is such a file or folder.
func (s *storage) Exists(ctx context.Context, key string) bool {
	list, err := s.store.Files(ctx, key)
	return err == nil && len(list) > 0
}

// List returns what is in a folder: of folders in it the name, or what is in them too.
func (s *storage) List(ctx context.Context, folder string, recursive bool) ([]string, error) {
	list, err := s.store.Files(ctx, folder)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, f := range list {
		key := f.Key
		if rest, ok := strings.CutPrefix(key, folder+"/"); ok && !recursive {
			first, _, _ := strings.Cut(rest, "/")
			key = folder + "/" + first
		}
		if len(keys) == 0 || keys[len(keys)-1] != key { // they are in order
			keys = append(keys, key)
		}
	}
	if keys == nil {
		return nil, fs.ErrNotExist
	}
	return keys, nil
}

// Stat tells about a file or folder.
func (s *storage) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	list, err := s.store.Files(ctx, key)
	if err != nil {
		return certmagic.KeyInfo{}, err
	}
	for _, f := range list {
		if f.Key == key {
			return certmagic.KeyInfo{Key: key, Modified: f.ModifiedAt, Size: f.Size, IsTerminal: true}, nil
		}
	}
	if len(list) == 0 {
		return certmagic.KeyInfo{}, fs.ErrNotExist
	}
	return certmagic.KeyInfo{Key: key}, nil
}

// Lock waits for a lease and keeps it until Unlock.
func (s *storage) Lock(ctx context.Context, name string) error {
	for {
		taken, err := s.begin(ctx, name)
		if err != nil || taken {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockPoll):
		}
	}
}

// begin holds the lease in the background, once it has it.
func (s *storage) begin(ctx context.Context, name string) (bool, error) {
	type outcome struct {
		taken bool
		err   error
	}
	begun, ended := make(chan outcome, 2), make(chan struct{})
	holding, release := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(ended)
		taken, err := s.store.Hold(holding, name, func(ctx context.Context) error {
			begun <- outcome{taken: true}
			<-ctx.Done()
			return nil
		})
		begun <- outcome{taken, err}
	}()
	select {
	case <-ctx.Done():
		release()
		<-ended
		return false, ctx.Err()
	case o := <-begun:
		if !o.taken {
			release()
			return false, o.err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locks[name] = func() { release(); <-ended }
	return true, nil
}

// Unlock gives the lease back.
func (s *storage) Unlock(_ context.Context, name string) error {
	s.mu.Lock()
	end, ok := s.locks[name]
	delete(s.locks, name)
	s.mu.Unlock()
	if !ok {
		return errors.New("unlock " + name + ": it isn't locked")
	}
	end()
	return nil
}
