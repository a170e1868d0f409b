package billing_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing"
	"controlplane/internal/errs"
	"controlplane/internal/tenants"
)

var errNoRoom = errs.New(errs.Unavailable, "capacity_full", "We are out of room.")

// full has no room for anybody, and remembers who asked.
type full struct {
	id   tenants.ID
	plan string
}

func (f *full) Check(_ context.Context, id tenants.ID, planID string) error {
	f.id, f.plan = id, planID
	return errNoRoom
}

func TestInitialize_AsksForRoomBeforeMoney(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.account("ada")
	client := b.client(p, "acme", "business")
	f := &full{}
	b.deps.Capacity = f
	service := billing.New(b.deps, billing.Options{CallbackURL: "http://localhost/payment/callback"})
	_, err := service.Initialize(t.Context(), p, b.ip, billing.InitializeInput{PlanID: "business"})
	require.ErrorIs(t, err, errNoRoom)
	require.Equal(t, full{client.ID, "business"}, *f)
	require.Zero(t, b.count(`payments`), "the gateway wasn't asked either: its row comes first")
}
