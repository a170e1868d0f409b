package tenants_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/tenants"
)

// The SQL CHECK, the Go constants and the drawing must tell the same story.
func TestStates_SQLGoAndDocsAgree(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var check string
	require.NoError(t, b.pool.QueryRow(t.Context(), `SELECT pg_get_constraintdef(oid) FROM pg_constraint
		WHERE conrelid = 'tenants'::regclass AND conname = 'tenants_state_check'`).Scan(&check))
	inSQL := map[tenants.State]bool{}
	for _, m := range regexp.MustCompile(`'([a-z_]+)'::text`).FindAllStringSubmatch(check, -1) {
		inSQL[tenants.State(m[1])] = true
	}
	require.Len(t, inSQL, len(tenants.States()))

	page, err := os.ReadFile("../../docs/state-machine.md")
	require.NoError(t, err)
	drawn := map[[2]tenants.State]bool{}
	for _, m := range regexp.MustCompile(`(?m)^    ([a-z_]+) --> ([a-z_]+)`).FindAllStringSubmatch(string(page), -1) {
		drawn[[2]tenants.State{tenants.State(m[1]), tenants.State(m[2])}] = true
	}
	for _, from := range tenants.States() {
		require.True(t, inSQL[from], "%s is missing in the CHECK", from)
		require.True(t, from.Known())
		require.Contains(t, string(page), "| `"+string(from)+"` |")
		for _, to := range tenants.States() {
			require.Equal(t, drawn[[2]tenants.State{from, to}], tenants.CanMove(from, to), "%s to %s", from, to)
		}
	}
}

func TestStates_NoPaidStateWithoutPayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tenant := b.create(b.account("ada"), "acme")

	require.Error(t, b.move(tenant.ID, tenants.Pending, tenants.Provisioning), "the table refuses an unpaid one")
	require.NoError(t, b.move(tenant.ID, tenants.Pending, tenants.Scheduled))
	require.Error(t, b.move(tenant.ID, tenants.Scheduled, tenants.Active), "no free activation by detour")
	require.NoError(t, b.move(tenant.ID, tenants.Scheduled, tenants.Pending))
}

// Random moves, legal and illegal: the row is always where the last legal one took it, and its history is the path.
func TestMoveTx_RandomSequences(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.account("ada")
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 12 {
		tenant := b.create(owner, "random-"+tenants.ID(100+round).String())
		b.pay(tenant.ID)
		path := []tenants.State{tenants.Pending, tenants.Provisioning}
		for range 60 {
			at := path[len(path)-1]
			from, to := pick(random), pick(random)
			err := b.move(tenant.ID, from, to)
			if from == at && tenants.CanMove(from, to) && (at != tenants.Scheduled || leadsBack(path, to)) {
				require.NoError(t, err)
				path = append(path, to)
				continue
			}
			require.Error(t, err)
			require.Equal(t, tenants.CanMove(from, to), errors.Is(err, tenants.ErrConflict))
		}
		found, err := b.ByID(t.Context(), tenant.ID)
		require.NoError(t, err)
		require.Equal(t, path[len(path)-1], found.State)
		require.Equal(t, path, b.history(tenant.ID))
		require.NotNil(t, found.PaidAt)
		require.Equal(t, slices.Contains(path, tenants.Active), found.ActivatedAt != nil)
	}
}

// leadsBack reports whether a paid tenant at the end of the path, which is scheduled for deletion, may go to the state.
func leadsBack(path []tenants.State, to tenants.State) bool {
	before := path[len(path)-2]
	if before == tenants.Sleeping {
		before = tenants.Active
	}
	return to == before || to == tenants.Deleting
}

// pick prefers the states from which much is possible.
func pick(random *rand.Rand) tenants.State {
	if random.IntN(2) == 0 {
		return []tenants.State{tenants.Provisioning, tenants.Active, tenants.Suspended, tenants.Scheduled}[random.IntN(4)]
	}
	return tenants.States()[random.IntN(len(tenants.States()))]
}

func TestMoveTx_SetsAndClearsTimes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tenant := b.create(b.account("ada"), "acme")
	b.activate(tenant.ID)
	activatedAt := b.clock()
	b.advance(5)

	require.NoError(t, b.move(tenant.ID, tenants.Active, tenants.Suspended))
	found, err := b.ByID(t.Context(), tenant.ID)
	require.NoError(t, err)
	require.NotNil(t, found.SuspendedAt)
	require.NoError(t, b.move(tenant.ID, tenants.Suspended, tenants.Active))
	found, err = b.ByID(t.Context(), tenant.ID)
	require.NoError(t, err)
	require.Nil(t, found.SuspendedAt)
	require.Equal(t, activatedAt, found.ActivatedAt.UTC(), "the first activation is what counts")

	require.NoError(t, b.move(tenant.ID, tenants.Active, tenants.Deleting))
	require.NoError(t, b.move(tenant.ID, tenants.Deleting, tenants.Deleted))
	found, err = b.ByID(t.Context(), tenant.ID)
	require.NoError(t, err)
	require.Empty(t, found.Address, "nothing may be routed to a freed address")
}

func TestFailTx_KeepsTheReasonAndThePayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tenant := b.create(b.account("ada"), "acme")
	b.pay(tenant.ID)
	require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error { return b.FailTx(ctx, tx, tenant.ID, "no room") }))

	found, err := b.ByID(t.Context(), tenant.ID)
	require.NoError(t, err)
	require.Equal(t, tenants.Failed, found.State)
	require.Equal(t, "no room", found.Failure)
	require.Equal(t, "success", found.PaymentStatus)

	require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error { return b.ActivateTx(ctx, tx, tenant.ID, endpoint()) }))
	found, err = b.ByID(t.Context(), tenant.ID)
	require.NoError(t, err)
	require.Empty(t, found.Failure)
	require.Equal(t, "10.212.0.2", found.Address)
	require.Equal(t, 8072, found.EventPort)
}
