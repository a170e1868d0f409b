package acme

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"controlplane/internal/certs"
)

const (
	lookEvery   = time.Minute            // for what is due
	settle      = 250 * time.Millisecond // between looks, however often something is wanted
	longest     = platformPatience + time.Minute
	forgetEvery = time.Hour
	keepUnused  = 7 * 24 * time.Hour // a CA counts how often it issues the same again in a week
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

// Deps are what a keeper works with. All but Owner, Tell and Now are required; Obtain needs no Wanted.
type Deps struct {
	Store  *certs.Store
	Issuer Issuer
	Wanted func() Wanted
	Owner  func(host string) string            // whose a host is, of whom none takes up all room; "", as without it: nobody's
	Tell   func(context.Context, Health) error // when a host's certificate gets into trouble, and out of it
	Now    func() time.Time
	Log    *slog.Logger
}

// Keeper sees to it that what is wanted has a certificate, and a new one in time. Each edge runs one; they share what is due.
type Keeper struct {
	deps   Deps
	wake   chan struct{} // one slot
	orders sync.WaitGroup

	ill      map[string]bool // whom Tell was told of
	forgotAt time.Time

	mu       sync.Mutex
	records  map[string]certs.Record // of all that is wanted, as of the latest look
	begun    map[string]bool         // since the latest full look: once is enough, whatever comes of it
	underWay map[string]lane
}

func (d Deps) complete() Deps {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Owner == nil {
		d.Owner = func(string) string { return "" }
	}
	if d.Tell == nil {
		d.Tell = func(context.Context, Health) error { return nil }
	}
	return d
}

// NewKeeper returns a keeper; Run starts it.
func NewKeeper(deps Deps) *Keeper {
	return &Keeper{
		deps: deps.complete(), wake: make(chan struct{}, 1), ill: map[string]bool{},
		records: map[string]certs.Record{}, begun: map[string]bool{}, underWay: map[string]lane{},
	}
}

// Wake makes the keeper look at once: something new is wanted.
func (k *Keeper) Wake() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run keeps certificates until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	defer k.orders.Wait()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for full := true; ctx.Err() == nil; {
		if err := k.look(ctx, full); err != nil && ctx.Err() == nil {
			k.deps.Log.WarnContext(ctx, "can't see to the certificates", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(settle):
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
			full = true
		case <-k.wake:
			full = false
		}
	}
}

// Look looks once, begins all that is due and returns when it has ended. The error is the database's; a CA's is in the record.
func (k *Keeper) Look(ctx context.Context) error {
	if err := k.look(ctx, true); err != nil {
		return err
	}
	for going := true; going; going = k.begin(ctx) > 0 {
		k.orders.Wait()
	}
	k.judge(ctx, k.deps.Wanted())
	return ctx.Err()
}

// look begins what is due, as far as there is room. Only a full look reads again what is known: others have only new hosts to ask for.
func (k *Keeper) look(ctx context.Context, full bool) error {
	wanted := k.deps.Wanted()
	if err := k.learn(ctx, wanted.Hosts, full); err != nil {
		return err
	}
	k.begin(ctx)
	if !full {
		return nil
	}
	k.judge(ctx, wanted)
	return k.forget(ctx, wanted)
}

// learn takes over what the database has of the hosts.
func (k *Keeper) learn(ctx context.Context, hosts []string, full bool) error {
	var read []certs.Record
	var err error
	if full {
		read, err = k.deps.Store.All(ctx)
	} else {
		read, err = k.deps.Store.Of(ctx, k.unknown(hosts))
	}
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	records := make(map[string]certs.Record, len(hosts))
	for _, host := range hosts {
		records[host] = certs.Record{Host: host}
		if r, ok := k.records[host]; ok && !full {
			records[host] = r
		}
	}
	for _, r := range read {
		if _, ok := records[r.Host]; ok {
			records[r.Host] = r
		}
	}
	k.records = records
	if full {
		clear(k.begun)
	}
	return nil
}

func (k *Keeper) unknown(hosts []string) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(hosts), func(host string) bool { _, ok := k.records[host]; return ok })
}

// begin starts orders, and returns how many. Each that ends makes room for the next.
func (k *Keeper) begin(ctx context.Context) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	var room [lanes]int
	for l := range lanes {
		room[l] = l.room()
	}
	owned := map[string]int{} // first orders, by whose they are
	for host, l := range k.underWay {
		room[l]--
		if l == first {
			owned[k.deps.Owner(host)]++
		}
	}
	count := 0
	for _, r := range k.dueLocked() {
		l := laneOf(r)
		owner := k.deps.Owner(r.Host)
		if room[l] <= 0 || l == first && owner != "" && owned[owner] >= share {
			continue
		}
		if l == first {
			owned[owner]++
		}
		room[l]--
		count++
		k.begun[r.Host], k.underWay[r.Host] = true, l
		k.orders.Go(func() {
			defer k.ended(r.Host)
			k.see(ctx, r.Host)
		})
	}
	return count
}

func (k *Keeper) ended(host string) {
	k.mu.Lock()
	delete(k.underWay, host)
	k.mu.Unlock()
	k.Wake()
}

// dueLocked returns those to ask for: those whose certificate runs out soonest first, and at the very first those who have none.
func (k *Keeper) dueLocked() []certs.Record {
	now := k.deps.Now()
	var due []certs.Record
	for host, r := range k.records {
		if _, going := k.underWay[host]; r.Due(now) && !going && !k.begun[host] {
			due = append(due, r)
		}
	}
	slices.SortFunc(due, func(a, b certs.Record) int {
		return cmp.Or(a.NotAfter.Compare(b.NotAfter), cmp.Compare(a.Failures, b.Failures), cmp.Compare(a.Host, b.Host))
	})
	return due
}

// see asks for one host's certificate, unless another edge is at it or has just been.
func (k *Keeper) see(ctx context.Context, host string) {
	asking, cancel := context.WithTimeout(ctx, longest) // the database may not answer either
	defer cancel()
	_, err := Obtain(asking, k.deps, host, false)
	if recordErr := k.reread(asking, host); err == nil {
		err = recordErr
	}
	var failed *FailedError
	switch {
	case errors.As(err, &failed):
		k.deps.Log.WarnContext(ctx, "no certificate", "host", host, "error", failed.Unwrap(), "retry_at", failed.RetryAt)
	case err != nil && ctx.Err() == nil:
		k.deps.Log.WarnContext(ctx, "can't see to a certificate", "host", host, "error", err)
	}
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

// forget drops, now and then, what hasn't been wanted for long.
func (k *Keeper) forget(ctx context.Context, wanted Wanted) error {
	now := k.deps.Now()
	if !wanted.Complete || now.Sub(k.forgotAt) < forgetEvery {
		return nil
	}
	gone, err := k.deps.Store.Forget(ctx, wanted.Hosts, now, keepUnused)
	if err != nil {
		return err
	}
	k.forgotAt = now
	if len(gone) > 0 {
		k.deps.Log.InfoContext(ctx, "forgot certificates that nobody wants any more", "hosts", gone)
	}
	return nil
}
