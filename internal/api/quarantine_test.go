package api_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// quarantine makes a copy of a client, as far as the API can tell.
func (b *bundle) quarantine(name string) {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), `UPDATE tenants SET quarantined_at = now(), quarantined_by = 'ada', neutralised_at = NULL,
		quarantine_cause = 'A copy of shop' WHERE name = $1`, name)
	require.NoError(b.t, err)
}

func TestACopyIsReleasedOrNeutralised(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work()
	owner, stranger := b.user("ada"), b.user("eve")
	b.live(owner, "acme")
	detail := b.get("/api/clients/acme", owner).object()
	require.Equal(t, []any{false, nil, nil}, []any{detail["quarantined"], detail["quarantine"], detail["neutralised_at"]})

	b.quarantine("acme")
	detail = b.get("/api/clients/acme", owner).object()
	require.Equal(t, true, detail["quarantined"])
	quarantine, _ := detail["quarantine"].(map[string]any)
	require.Equal(t, []any{"ada", "A copy of shop"}, []any{quarantine["by"], quarantine["cause"]})
	require.NotEmpty(t, quarantine["since"])
	require.Contains(t, quarantine["explanation"], "reaches nobody")

	for body, status := range map[string]int{``: 422, `{}`: 422, `{"confirm":"no"}`: 422, `{"confirm":7}`: 422, `{"confirm"`: 400} {
		require.Equal(t, status, b.post("/api/clients/acme/release", owner, body).Status, body)
	}
	require.Equal(t, http.StatusNotFound, b.post("/api/clients/acme/release", stranger, `{"confirm":"acme"}`).Status)
	require.Equal(t, http.StatusNotFound, b.act(stranger, "acme", "neutralise").Status)
	require.Equal(t, true, b.get("/api/clients/acme", owner).object()["quarantined"], "nothing changed")

	done := b.requireDone(b.post("/api/clients/acme/release", owner, `{"confirm":"acme"}`))
	require.Equal(t, "tenant.resume", done["operation"].(map[string]any)["kind"])
	require.Equal(t, false, b.get("/api/clients/acme", owner).object()["quarantined"])
	b.requireRefusal(b.act(owner, "acme", "neutralise"), http.StatusConflict, "isn't in quarantine")

	b.quarantine("acme")
	done = b.requireDone(b.act(b.admin(), "acme", "neutralise"))
	require.Equal(t, "tenant.neutralise", done["operation"].(map[string]any)["kind"])
	detail = b.get("/api/clients/acme", owner).object()
	require.Equal(t, false, detail["quarantined"])
	require.NotNil(t, detail["neutralised_at"])
	require.Nil(t, b.requireDone(b.act(owner, "acme", "neutralise"))["operation"], "it is")
	b.requireRefusal(b.post("/api/clients/acme/release", owner, `{"confirm":"acme"}`), http.StatusConflict, "isn't in quarantine")
}
