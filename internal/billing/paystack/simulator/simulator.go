// Package simulator is a faithful local Paystack for development and tests: the transaction API, a checkout page, signed webhooks
// with Paystack's retry schedule on a clock that can be moved, and switches for everything that goes wrong in practice. It shares
// no code with the client, so that a mistake in one isn't hidden by the other. It never talks to the real Paystack.
package simulator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"controlplane/internal/secrets"
)

// Options configure a Simulator; zero values mean the defaults below.
type Options struct {
	SecretKeys     []secrets.Secret // sk_test_… and sk_live_…; test and live have separate stores. At least one
	WebhookURL     string           // "": no webhooks
	PublicURL      string           // where browsers reach Handler; "": the host that initialize was called at
	BusinessName   string           // on the checkout page, default "Odoo hosting"
	Clock          *Clock           // nil: the real time
	Seed           uint64           // ids and codes are the same for the same seed and the same calls
	FeeBasisPoints int64            // of every payment, default 150 (1.5 %)
	RefundStep     time.Duration    // from pending to processing, and on to the end; default 1 min
	RemindEvery    time.Duration    // of charge.dispute.remind, default 4 h
	InOrder        bool             // events are delivered by Advance and Settle alone, one after the other, so that a run repeats exactly

	// What the documentation leaves open:
	PartlyRefunded     string // a transaction's status after a part was refunded, default "success"
	RefundEventIDs     bool   // whether refund events carry the refund's id
	SubscribeDebitsNow bool   // whether a subscription without start_date charges at once

	WebhookTimeout time.Duration // default 30 s
	StateFile      string        // "": everything is forgotten at the end
	Log            *slog.Logger  // nil: silent
}

// Simulator is a Paystack of its own. Close it at the end.
type Simulator struct {
	opts   Options
	clock  *Clock
	client *http.Client
	wake   chan struct{}
	life   context.Context //nolint:containedctx // until Close
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex
	changed  *sync.Cond // of inFlight and the queue
	state    state
	chance   *rand.Rand
	faults   []*Fault
	struck   map[FaultKind]int
	journal  []Entry
	inFlight int
}

// New returns a simulator that delivers webhooks until it is closed, with the state of StateFile if that is there.
func New(opts Options) (*Simulator, error) {
	if err := checkKeys(opts.SecretKeys); err != nil {
		return nil, err
	}
	opts.BusinessName = cmp.Or(opts.BusinessName, "Odoo hosting")
	opts.FeeBasisPoints = cmp.Or(opts.FeeBasisPoints, 150)
	opts.RefundStep = cmp.Or(opts.RefundStep, time.Minute)
	opts.RemindEvery = cmp.Or(opts.RemindEvery, 4*time.Hour)
	opts.PartlyRefunded = cmp.Or(opts.PartlyRefunded, "success")
	opts.WebhookTimeout = cmp.Or(opts.WebhookTimeout, 30*time.Second)
	opts.PublicURL = strings.TrimRight(opts.PublicURL, "/")
	if opts.Clock == nil {
		opts.Clock = NewClock()
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	st, err := loadState(opts.StateFile)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Simulator{
		opts: opts, clock: opts.Clock, state: st, wake: make(chan struct{}, 1), cancel: cancel,
		chance: rand.New(rand.NewPCG(opts.Seed, firstID)), //nolint:gosec // repeatable on purpose
		life:   ctx, struck: map[FaultKind]int{},
		client: &http.Client{
			Timeout:       opts.WebhookTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // POSTs aren't sent again after one
		},
	}
	s.changed = sync.NewCond(&s.mu)
	if !opts.InOrder {
		s.done.Go(func() { s.deliverLoop(ctx) })
	}
	return s, nil
}

func checkKeys(keys []secrets.Secret) error {
	if len(keys) == 0 {
		return errors.New("the simulator needs at least one secret key")
	}
	for i, key := range keys {
		if domainOf(key.Reveal()) == "" {
			return fmt.Errorf("secret key %d of the simulator must begin with sk_test_ or sk_live_", i+1)
		}
	}
	return nil
}

func domainOf(key string) string {
	switch {
	case strings.HasPrefix(key, "sk_test_"):
		return "test"
	case strings.HasPrefix(key, "sk_live_"):
		return "live"
	}
	return ""
}

// Close stops deliveries and waits for those that are on their way.
func (s *Simulator) Close() {
	s.cancel()
	s.done.Wait()
	s.client.CloseIdleConnections()
}

// SetWebhookURL changes where events are delivered, as the dashboard does.
func (s *Simulator) SetWebhookURL(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.WebhookURL = url
}

// Advance moves the simulator's clock from one thing that is due to the next, so that each happens at its own time, and delivers
// the events in the background, or with InOrder at their own times too.
func (s *Simulator) Advance(d time.Duration) {
	for {
		next := s.nextDue()
		if next == nil {
			break
		}
		pause := max(0, next.Sub(s.clock.Now()))
		if pause > d {
			break
		}
		s.clock.Advance(pause)
		d -= pause
		s.runDue()
		s.deliverInOrder()
	}
	s.clock.Advance(d)
	s.kick()
}

// now has milliseconds, as Paystack's times do.
func (s *Simulator) now() time.Time { return s.clock.Now().UTC().Truncate(time.Millisecond) }

// signingKey is the first key of a domain. The signature is by the key of the mode that the event is of.
func (s *Simulator) signingKey(domain string) secrets.Secret {
	for _, key := range s.opts.SecretKeys {
		if domainOf(key.Reveal()) == domain {
			return key
		}
	}
	return s.opts.SecretKeys[0]
}
