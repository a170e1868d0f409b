package billing

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/ops"
	"controlplane/internal/postgres"
)

const (
	eventKind    = "payment_event.apply" // stored in operations: don't rename
	storeTimeout = 5 * time.Second       // the sender gives up on us after 30 s, and sends again

	// eventAttempts outlasts any outage of the gateway, about three days: an event that was answered with 200 isn't sent again, and the
	// poller looks only at what isn't paid.
	eventAttempts = 1000
	// operationsKept is how long one can see how an event was applied; what came of it stays with the event.
	operationsKept = 30 * 24 * time.Hour
)

type eventInput struct {
	EventID int64 `json:"event_id"`
}

// Signed reports whether a delivered event is the gateway's, without a look at the database.
func (s *Service) Signed(body []byte, signature string) bool {
	return s.deps.Gateway.VerifySignature(body, signature)
}

// ReceiveWebhook checks a delivered event and stores it durably together with the operation that applies it; that is all, so that
// the sender gets its answer in milliseconds. A repeat of an event is accepted and does nothing. Events that we don't know are
// kept. Errors: ErrBadSignature; ErrEventsDown, upon which the sender delivers again.
func (s *Service) ReceiveWebhook(ctx context.Context, body []byte, signature string) error {
	if !s.deps.Gateway.VerifySignature(body, signature) {
		s.deps.Log.WarnContext(ctx, "event refused: it isn't signed with one of our keys", "bytes", len(body), "signed", signature != "")
		return ErrBadSignature
	}
	e, err := s.deps.Gateway.DecodeEvent(body)
	if err != nil {
		sum := sha256.Sum256(body)
		e = Event{Name: "unreadable", Key: "unreadable/" + hex.EncodeToString(sum[:])}
		s.deps.Log.WarnContext(ctx, "signed event can't be read; kept as it is", "error", err)
	}
	// What was stored before a move to live is of the other mode, whose ids know nothing of ours.
	e.Key = s.deps.Gateway.Mode() + "/" + e.Key
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := s.storeEvent(ctx, e, body); err != nil {
		return ErrEventsDown.WithCause(err).WithRetryAfter(time.Minute)
	}
	return nil
}

func (s *Service) storeEvent(ctx context.Context, e Event, body []byte) error {
	outcome := s.ignored(e)
	if outcome != "" {
		s.deps.Log.InfoContext(ctx, "payment event kept, not applied", "event", e.Name, "reference", e.Reference, "why", outcome)
	}
	return postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		id, err := insertEvent(ctx, tx, e, body, outcome, s.now())
		if err != nil || id == 0 || outcome != "" {
			return err
		}
		_, err = s.deps.Ops.EnqueueTx(ctx, tx, eventKind, "payment_event/"+strconv.FormatInt(id, 10), eventInput{EventID: id})
		return err
	})
}

// ignored says why an event has nothing to apply, or "".
func (s *Service) ignored(e Event) string {
	if e.Reference == "" {
		return "not about a payment"
	}
	if !referenceShaped(e.Reference) {
		return "not a reference of ours"
	}
	if e.Mode != "" && e.Mode != s.deps.Gateway.Mode() {
		return "of the other mode"
	}
	return ""
}

// eventWorkflow has one step: ask the gateway what became of the payment that the event hints at, then apply the answer together
// with the operation's checkpoint.
func (s *Service) eventWorkflow() ops.Workflow {
	return ops.Workflow{
		Kind: eventKind, MaxAttempts: eventAttempts,
		Steps: []ops.Step{{
			Name: "apply", Timeout: 30 * time.Second,
			Do: s.verifyEvent,
			Tx: s.applyEventTx,
		}},
	}
}

// ForgetApplied removes the operations that applied events long ago: there is one for every event.
func (s *Service) ForgetApplied(ctx context.Context) error {
	_, err := s.deps.Ops.Forget(ctx, eventKind, s.now().Add(-operationsKept))
	return err
}

func (s *Service) verifyEvent(ctx context.Context, r *ops.Run) error {
	var in eventInput
	if err := r.Input(&in); err != nil {
		return ops.Permanent(fmt.Errorf("read the input: %w", err))
	}
	f, err := s.lookAfter(ctx, in.EventID)
	if err != nil {
		return err
	}
	return r.Set("verified", f)
}

func (s *Service) applyEventTx(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	var in eventInput
	if err := r.Input(&in); err != nil {
		return err
	}
	var f finding
	if ok, err := r.Get("verified", &f); err != nil || !ok {
		return fmt.Errorf("read what the gateway said (there: %t): %w", ok, err)
	}
	outcome, err := s.applyTx(ctx, tx, f)
	if err != nil {
		return err
	}
	return markEventApplied(ctx, tx, in.EventID, outcome, s.now())
}
