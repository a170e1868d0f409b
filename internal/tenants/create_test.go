package tenants_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/tenants"
)

func TestCreate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.account("ada")

	got, err := b.Create(t.Context(), owner, b.ip, tenants.CreateInput{Name: "A-corp ", Domain: "a-corp.yourdomain.com", Email: "x@example.test"})
	require.NoError(t, err)
	require.Equal(t, "a-corp", got.Name)
	require.Equal(t, "odoo_a_corp", got.DBName)
	require.Equal(t, "a-corp.example.test", got.Domain, "the platform decides the address")
	require.Equal(t, tenants.Pending, got.State)
	require.Equal(t, "basic", got.PlanID)
	require.Equal(t, owner.AccountID, got.AccountID)
	require.Equal(t, b.clock().Add(24*time.Hour), got.PaymentDeadline.UTC())
	require.Empty(t, got.Address)

	found, err := b.Get(t.Context(), owner, "a-corp")
	require.NoError(t, err)
	require.Equal(t, got, found)
	require.Equal(t, []tenants.State{tenants.Pending}, b.history(got.ID))
	require.Equal(t, 1, b.count("FROM activity_log WHERE action = 'client.create' AND tenant_id = $1 AND account_id = $2", got.ID, owner.AccountID))
}

func TestCreate_RefusesBadInput(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner, other := b.account("ada"), b.account("bob")
	b.create(other, "taken-one")

	for name, tc := range map[string]struct {
		in   tenants.CreateInput
		want error
	}{
		"bad name":              {tenants.CreateInput{Name: "x"}, tenants.ErrBadName},
		"reserved name":         {tenants.CreateInput{Name: "admin"}, tenants.ErrReservedName},
		"name taken":            {tenants.CreateInput{Name: "taken-one"}, tenants.ErrNameTaken},
		"name taken, capitals":  {tenants.CreateInput{Name: "TAKEN-ONE"}, tenants.ErrNameTaken},
		"no e-mail":             {tenants.CreateInput{Email: " "}, tenants.ErrBadEmail},
		"e-mail without domain": {tenants.CreateInput{Email: "me"}, tenants.ErrBadEmail},
		"e-mail with name":      {tenants.CreateInput{Email: "Me <me@example.test>"}, tenants.ErrBadEmail},
		"e-mail at no domain":   {tenants.CreateInput{Email: "me@localhost"}, tenants.ErrBadEmail},
		"Cyrillic in e-mail":    {tenants.CreateInput{Email: "mе@example.test"}, tenants.ErrBadEmail},
		"two e-mails":           {tenants.CreateInput{Email: "me@example.test,you@example.test"}, tenants.ErrBadEmail},
		"header in e-mail":      {tenants.CreateInput{Email: "me@example.test\r\nBcc: you@example.test"}, tenants.ErrBadEmail},
		"NUL in e-mail":         {tenants.CreateInput{Email: "me\x00@example.test"}, tenants.ErrBadEmail},
		"zero width in e-mail":  {tenants.CreateInput{Email: "me\u200b@example.test"}, tenants.ErrBadEmail},
		"broken UTF-8":          {tenants.CreateInput{Email: "me\xff@example.test"}, tenants.ErrBadEmail},
		"long e-mail":           {tenants.CreateInput{Email: strings.Repeat("a", 250) + "@example.test"}, tenants.ErrBadEmail},
		"unknown plan":          {tenants.CreateInput{PlanID: "gold"}, tenants.ErrUnknownPlan},
		"plan with NUL":         {tenants.CreateInput{PlanID: "basic\x00"}, tenants.ErrUnknownPlan},
		"plan in capitals":      {tenants.CreateInput{PlanID: "BASIC"}, tenants.ErrUnknownPlan},
		"long plan":             {tenants.CreateInput{PlanID: strings.Repeat("a", 100_000)}, tenants.ErrUnknownPlan},
		"another's address":     {tenants.CreateInput{Domain: "taken-one.example.test"}, tenants.ErrDomainTaken},
		"below another's":       {tenants.CreateInput{Domain: "www.taken-one.example.test"}, tenants.ErrDomainTaken},
		"another's, disguised":  {tenants.CreateInput{Domain: " Taken-One.EXAMPLE.test. "}, tenants.ErrDomainTaken},
		"reserved address":      {tenants.CreateInput{Domain: "api.example.test"}, tenants.ErrDomainTaken},
		"the platform's own":    {tenants.CreateInput{Domain: "example.test"}, tenants.ErrDomainTaken},
		"NUL in domain":         {tenants.CreateInput{Domain: "a\x00.example.test"}, tenants.ErrBadDomain},
		"long domain":           {tenants.CreateInput{Domain: strings.Repeat("a.", 200)}, tenants.ErrBadDomain},
	} {
		if tc.in.Name == "" {
			tc.in.Name = "free-one"
		}
		if tc.in.Email == "" {
			tc.in.Email = "me@example.test"
		}
		_, err := b.Create(t.Context(), owner, b.ip, tc.in)
		require.ErrorIs(t, err, tc.want, name)
	}
	require.Zero(t, b.count("FROM tenants WHERE account_id = $1", owner.AccountID), "nothing changed")
}

func TestCreate_IgnoresForeignDomains(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i, domain := range []string{"", "free-1.example.test", "free-1.yourdomain.com", "nobody.example.test", "notexample.test"} {
		owner := b.account("owner-" + tenants.ID(i).String())
		name := "free-" + tenants.ID(i).String()
		got, err := b.Create(t.Context(), owner, b.ip, tenants.CreateInput{Name: name, Domain: strings.Replace(domain, "free-1", name, 1), Email: "a@b.test"})
		require.NoError(t, err, domain)
		require.Equal(t, name+".example.test", got.Domain)
	}
}

func TestCreate_RaceForOneName(t *testing.T) {
	t.Parallel()
	b := setup(t)
	errsSeen := inParallel(30, func(i int) error {
		_, err := b.Create(t.Context(), b.account("racer-"+tenants.ID(i).String()), b.ip, tenants.CreateInput{Name: "prize", Email: "a@b.test"})
		return err
	})
	won := 0
	for _, err := range errsSeen {
		if err == nil {
			won++
			continue
		}
		require.ErrorIs(t, err, tenants.ErrNameTaken)
	}
	require.Equal(t, 1, won)
	require.Equal(t, 1, b.count("FROM tenants"))
	require.Equal(t, 1, b.count("FROM tenant_events"))
}

func TestCreate_QuotaHoldsUnderConcurrency(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.account("ada")
	errsSeen := inParallel(12, func(i int) error {
		_, err := b.Create(t.Context(), owner, b.ip, tenants.CreateInput{Name: "client-" + tenants.ID(i).String(), Email: "a@b.test"})
		return err
	})
	refused := 0
	for _, err := range errsSeen {
		if errors.Is(err, tenants.ErrTooManyUnpaid) {
			refused++
		} else {
			require.NoError(t, err)
		}
	}
	require.Equal(t, 9, refused)
	require.Equal(t, 3, b.count("FROM tenants"))

	unpaid, err := b.UnpaidOf(t.Context(), b.pool, owner.AccountID, "")
	require.NoError(t, err)
	require.Len(t, unpaid, 3)
	b.pay(unpaid[0].ID)
	_, err = b.Create(t.Context(), owner, b.ip, tenants.CreateInput{Name: "one-more", Email: "a@b.test"})
	require.NoError(t, err, "a paid one doesn't count")
	require.NoError(t, b.move(unpaid[1].ID, tenants.Pending, tenants.Scheduled))
	_, err = b.Create(t.Context(), owner, b.ip, tenants.CreateInput{Name: "and-more", Email: "a@b.test"})
	require.ErrorIs(t, err, tenants.ErrTooManyUnpaid, "scheduling an unpaid one for deletion makes no room: it can come back")
}

// Names hold no underscores today, but rows from elsewhere may: two names for one database must never be.
func TestCreate_DatabaseNameTaken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	old := b.create(b.account("ada"), "old-name")
	_, err := b.pool.Exec(t.Context(), "UPDATE tenants SET db_name = 'odoo_new_name' WHERE id = $1", old.ID)
	require.NoError(t, err)
	_, err = b.Create(t.Context(), b.account("bob"), b.ip, tenants.CreateInput{Name: "new-name", Email: "a@b.test"})
	require.ErrorIs(t, err, tenants.ErrNameTaken)
}

func TestCreate_NameIsFreeAgainAfterDeletion(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.account("ada")
	old := b.create(owner, "phoenix")
	require.NoError(t, b.move(old.ID, tenants.Pending, tenants.Deleted))
	_, err := b.Get(t.Context(), owner, "phoenix")
	require.ErrorIs(t, err, tenants.ErrNotFound)

	reborn := b.create(owner, "phoenix")
	require.NotEqual(t, old.ID, reborn.ID)
	found, err := b.ByID(t.Context(), old.ID)
	require.NoError(t, err)
	require.Equal(t, tenants.Deleted, found.State, "the old row stays as history")
}

func TestCreate_PlanNoLongerOffered(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.pool.Exec(t.Context(), "UPDATE plans SET active = false WHERE id = 'basic'")
	require.NoError(t, err)
	_, err = b.Create(t.Context(), b.account("ada"), b.ip, tenants.CreateInput{Name: "acme", Email: "a@b.test", PlanID: "basic"})
	require.ErrorIs(t, err, tenants.ErrUnknownPlan)
	_, err = b.Plan(t.Context(), "basic")
	require.NoError(t, err, "clients keep theirs")
}

// inParallel runs fn n times at once and returns the errors.
func inParallel(n int, fn func(i int) error) []error {
	out := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { out[i] = fn(i) })
	}
	wg.Wait()
	return out
}
