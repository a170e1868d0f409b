package acme

import (
	"context"
	"errors"
	"fmt"
	"time"

	"controlplane/internal/certs"
)

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
	f := certs.Failure{Cause: causeOf(host, cause), Reason: cause.Error(), RetryAt: retryAt(now, record.Failures+1, cause)}
	if err := deps.Store.Fail(ctx, host, f, now); err != nil {
		return errors.Join(cause, err)
	}
	return &FailedError{Host: host, RetryAt: f.RetryAt, cause: cause}
}
