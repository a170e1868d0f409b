package billing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// watched is a Gateway that keeps the book of when it couldn't be reached: from the first call that brought no answer, of whichever
// process, to the next that did. Nobody asking in between can only make that longer, in the customers' favour.
type watched struct {
	Gateway
	s *Service
}

// Initialize notes whether there was an answer.
func (w watched) Initialize(ctx context.Context, r InitializeRequest) (Checkout, error) {
	c, err := w.Gateway.Initialize(ctx, r)
	w.note(ctx, err)
	return c, err
}

// Verify notes whether there was an answer.
func (w watched) Verify(ctx context.Context, reference string) (Transaction, error) {
	t, err := w.Gateway.Verify(ctx, reference)
	w.note(ctx, err)
	if err == nil {
		w.s.keepCard(ctx, t)
	}
	return t, err
}

// ChargeAuthorization notes whether there was an answer.
func (w watched) ChargeAuthorization(ctx context.Context, r ChargeRequest) (Transaction, error) {
	t, err := w.Gateway.ChargeAuthorization(ctx, r)
	w.note(ctx, err)
	if err == nil {
		w.s.keepCard(ctx, t)
	}
	return t, err
}

// note fails quietly: the book is not worth a payment.
func (w watched) note(ctx context.Context, outcome error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return // our own doing
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	var err error
	if unanswered(outcome) {
		err = beginOutage(ctx, w.s.deps.Pool, w.s.now())
	} else {
		err = endOutage(ctx, w.s.deps.Pool, w.s.now())
	}
	if err != nil {
		w.s.deps.Log.WarnContext(ctx, "whether the gateway answers can't be noted", "error", err)
	}
}

const noteTimeout = 5 * time.Second

// unanswered reports whether a call's error means that its outcome is unknown.
func unanswered(err error) bool {
	return err != nil && !errors.Is(err, ErrTransactionNotFound) && !errors.Is(err, ErrGatewayRefused) && !errors.Is(err, ErrDuplicateReference)
}

func beginOutage(ctx context.Context, pool *pgxpool.Pool, now time.Time) error {
	return exec(ctx, pool, "begin an outage", `INSERT INTO gateway_outages (began_at) VALUES ($1) ON CONFLICT DO NOTHING`, now)
}

func endOutage(ctx context.Context, pool *pgxpool.Pool, now time.Time) error {
	return exec(ctx, pool, "end an outage", `UPDATE gateway_outages SET ended_at = greatest(began_at, $1) WHERE ended_at IS NULL`, now)
}

// OutageBetween returns for how long, of the time between two moments, the gateway couldn't be reached. It is what a customer who had
// that time to pay is owed.
func (s *Service) OutageBetween(ctx context.Context, from, to time.Time) (time.Duration, error) {
	var seconds float64
	err := s.deps.Pool.QueryRow(ctx, `
		SELECT coalesce(sum(extract(epoch FROM least(coalesce(ended_at, $3), $2) - greatest(began_at, $1))), 0)::float8 FROM gateway_outages
		WHERE coalesce(ended_at, 'infinity') > $1 AND began_at < least($2, $3)`, from, to, s.now()).Scan(&seconds)
	if err != nil {
		return 0, fmt.Errorf("sum up the gateway's outages: %w", err)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}
