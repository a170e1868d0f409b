package acme

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"controlplane/internal/certs"
)

const (
	lookEvery  = time.Minute // for what is due
	atOnce     = 4           // orders at a time, in each lane
	batch      = 16          // orders until it is looked again who is most urgent
	keepUnused = 30 * 24 * time.Hour
)

// Issuer asks a CA, once. Client is the one.
type Issuer interface {
	Issue(ctx context.Context, host string) (certs.Certificate, error)
}

// Wanted is what has to have a certificate.
type Wanted struct {
	Hosts    []string
	Complete bool // nothing else is wanted: what isn't here may be forgotten in time
}

// Deps are what a keeper works with. All but Tell and Now are required; Obtain needs no Wanted.
type Deps struct {
	Store  *certs.Store
	Issuer Issuer
	Wanted func() Wanted
	Tell   func(context.Context, Health) error // when a host's certificate gets into trouble, and out of it
	Now    func() time.Time
	Log    *slog.Logger
}

// Lane keeps those who wait for their first certificate, or for a renewal that nothing speaks against, from waiting for those whose orders
// fail, which may take minutes each.
type Lane int

// The lanes.
const (
	Smooth Lane = iota // nothing has failed since the last success
	Rough
)

// Keeper sees to it that what is wanted has a certificate, and a new one in time. Each edge runs one; they share what is due.
type Keeper struct {
	deps Deps
	wake [2]chan struct{} // by lane

	mu       sync.Mutex
	records  map[string]certs.Record // as of the latest look
	ill      map[string]bool         // whom Tell was told of
	forgotAt time.Time
}

func (d Deps) complete() Deps {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Tell == nil {
		d.Tell = func(context.Context, Health) error { return nil }
	}
	return d
}

// NewKeeper returns a keeper; Run starts it.
func NewKeeper(deps Deps) *Keeper {
	return &Keeper{
		deps: deps.complete(), wake: [2]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)},
		records: map[string]certs.Record{}, ill: map[string]bool{},
	}
}

// Wake makes the keeper look at once: something new is wanted.
func (k *Keeper) Wake() { k.again(Smooth) }

func (k *Keeper) again(lane Lane) {
	select {
	case k.wake[lane] <- struct{}{}:
	default:
	}
}

// Run keeps certificates until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	var lanes sync.WaitGroup
	for _, lane := range []Lane{Smooth, Rough} {
		lanes.Go(func() { k.run(ctx, lane) })
	}
	lanes.Wait()
}

func (k *Keeper) run(ctx context.Context, lane Lane) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := k.Look(ctx, lane); err != nil && ctx.Err() == nil {
			k.deps.Log.WarnContext(ctx, "can't see to the certificates", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-k.wake[lane]:
		}
	}
}

// Look asks for what is due now in a lane, a batch of it, and returns when that is done. The error is the database's; a CA's is in the
// record.
func (k *Keeper) Look(ctx context.Context, lane Lane) error {
	wanted := k.deps.Wanted()
	due, err := k.due(ctx, wanted, lane)
	if err != nil {
		return err
	}
	if len(due) > batch {
		due = due[:batch]
		defer k.again(lane)
	}
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, host := range due {
		group.Go(func() error { return k.see(ctx, host) })
	}
	err = group.Wait()
	if lane == Rough {
		return err
	}
	k.judge(ctx, wanted)
	return errors.Join(err, k.forget(ctx, wanted))
}

// due returns the hosts to ask for: those who have no certificate first, then those whose certificate runs out soonest.
func (k *Keeper) due(ctx context.Context, wanted Wanted, lane Lane) ([]string, error) {
	all, err := k.deps.Store.All(ctx)
	if err != nil {
		return nil, err
	}
	records := make(map[string]certs.Record, len(wanted.Hosts))
	for _, host := range wanted.Hosts {
		records[host] = certs.Record{Host: host}
	}
	for _, r := range all {
		if _, ok := records[r.Host]; ok {
			records[r.Host] = r
		}
	}
	k.mu.Lock()
	k.records = records
	k.mu.Unlock()
	now := k.deps.Now()
	var due []certs.Record
	for _, r := range records {
		if r.Due(now) && (r.Failures > 0) == (lane == Rough) {
			due = append(due, r)
		}
	}
	slices.SortFunc(due, func(a, b certs.Record) int {
		return cmp.Or(a.NotAfter.Compare(b.NotAfter), cmp.Compare(a.Failures, b.Failures), cmp.Compare(a.Host, b.Host))
	})
	hosts := make([]string, len(due))
	for i, r := range due {
		hosts[i] = r.Host
	}
	return hosts, nil
}

// see asks for one host's certificate, unless another edge is at it or has just been.
func (k *Keeper) see(ctx context.Context, host string) error {
	_, err := Obtain(ctx, k.deps, host, false)
	if recordErr := k.reread(ctx, host); err == nil {
		err = recordErr
	}
	var failed *FailedError
	if errors.As(err, &failed) {
		k.deps.Log.WarnContext(ctx, "no certificate", "host", host, "error", failed.Unwrap(), "retry_at", failed.RetryAt)
		return nil
	}
	return err
}

func (k *Keeper) reread(ctx context.Context, host string) error {
	r, err := k.deps.Store.Record(ctx, host)
	if errors.Is(err, certs.ErrNotFound) {
		return nil // another edge is at it
	}
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.records[host]; ok {
		k.records[host] = r
	}
	return nil
}

// FailedError is that the CA gave no certificate. It is on record, with the time of the next try.
type FailedError struct {
	Host    string
	RetryAt time.Time
	cause   error
}

// Error says why.
func (e *FailedError) Error() string {
	return fmt.Sprintf("no certificate for %s: %v", e.Host, e.cause)
}

// Unwrap returns what the CA, or the way to it, said.
func (e *FailedError) Unwrap() error { return e.cause }

// Obtain asks for a host's certificate if it is due, or whatever the record says with force, and puts down what comes of it. done is false
// when there is nothing to do, or somebody else is doing it. The error is a *FailedError or the database's.
func Obtain(ctx context.Context, deps Deps, host string, force bool) (done bool, err error) {
	deps = deps.complete()
	_, err = deps.Store.Hold(ctx, "certificate/"+host, func(ctx context.Context) error {
		record, err := deps.Store.Record(ctx, host)
		if err != nil && !errors.Is(err, certs.ErrNotFound) {
			return err
		}
		if !force && !record.Due(deps.Now()) {
			return nil
		}
		cert, err := deps.Issuer.Issue(ctx, host)
		if err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("ask for the certificate of %s: %w", host, context.Cause(ctx)) // we were stopped; nobody failed
			}
			return noteFailure(ctx, deps, record, host, err)
		}
		if err := deps.Store.Save(ctx, cert, deps.Now()); err != nil {
			return err
		}
		done = true
		deps.Log.InfoContext(ctx, "certificate obtained", "host", host, "not_after", cert.NotAfter, "renewal", record.Version > 0)
		return deps.Tell(ctx, Health{Host: host})
	})
	return done, err
}

func noteFailure(ctx context.Context, deps Deps, record certs.Record, host string, cause error) error {
	now := deps.Now()
	at := retryAt(now, record.Failures+1, cause)
	if err := deps.Store.Fail(ctx, host, cause.Error(), now, at); err != nil {
		return errors.Join(cause, err)
	}
	return &FailedError{Host: host, RetryAt: at, cause: cause}
}

// forget drops, once a day, what hasn't been wanted for long.
func (k *Keeper) forget(ctx context.Context, wanted Wanted) error {
	now := k.deps.Now()
	if !wanted.Complete || now.Sub(k.forgotAt) < 24*time.Hour {
		return nil
	}
	gone, err := k.deps.Store.Forget(ctx, wanted.Hosts, now.Add(-keepUnused))
	if err != nil {
		return err
	}
	k.forgotAt = now
	if len(gone) > 0 {
		k.deps.Log.InfoContext(ctx, "forgot certificates that nobody wants any more", "hosts", gone)
	}
	return nil
}
