package api_test

import (
	"fmt"
	"net/http"
	"strings"
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

func TestBackups_AreCopied(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner, stranger := b.user("owner"), b.user("stranger")
	b.running(owner, "acme")
	b.running(owner, "globex")
	b.running(stranger, "theirs")
	path := b.backup(owner)
	require.Equal(t, http.StatusNotFound, b.post(path+"/restore", stranger, `{"into":"theirs"}`).Status)
	for body, status := range map[string]int{`{"into":"theirs"}`: 404, `{"into":"nobodys"}`: 404, `{"into":7}`: 422, `{"into":"globex"`: 400} {
		require.Equal(t, status, b.post(path+"/restore", owner, body).Status, body)
	}
	require.Equal(t, 1, b.count("operations"), "the backup's own")
	a := b.post(path+"/restore", owner, `{"into":"globex"}`)
	require.Equal(t, http.StatusAccepted, a.Status, "%s", a.Body)
	operation, _ := a.object()["operation"].(map[string]any)
	target := fmt.Sprintf("tenant/%.0f", b.get("/api/clients/globex", owner).object()["id"])
	require.Equal(t, []any{"tenant.restore", target}, []any{operation["kind"], operation["subject"]})

	id := strings.TrimPrefix(path, "/api/backups/")
	for body, status := range map[string]int{`"x"`: 422, `-1`: 404, `999`: 404, `1.5`: 422} {
		a := b.post("/api/clients", owner, `{"name":"twin","email":"a@example.com","from_backup":`+body+`}`)
		require.Equal(t, status, a.Status, "%s: %s", body, a.Body)
	}
	require.Equal(t, http.StatusNotFound, b.post("/api/clients", stranger, `{"name":"twin","email":"a@example.com","from_backup":`+id+`}`).Status)
	a = b.post("/api/clients", owner, `{"name":"twin","email":"a@example.com","from_backup":`+id+`}`)
	require.Equal(t, http.StatusCreated, a.Status, "%s", a.Body)
	require.Equal(t, 1, b.count("tenants WHERE name = 'twin' AND copy_of = "+id))
	_, err := b.pool.Exec(t.Context(), "UPDATE backups SET filestore_bytes = 30::bigint << 30 WHERE id = "+id)
	require.NoError(t, err)
	a = b.patch("/api/clients/twin", owner, `{"plan":"business"}`)
	b.requireRefusal(a, http.StatusConflict, "has room for 25 GB")
	require.Equal(t, http.StatusOK, b.patch("/api/clients/twin", owner, `{"plan":"enterprise"}`).Status)
	require.Equal(t, 1, b.count("tenants WHERE name = 'twin' AND plan_id = 'enterprise'"))
	require.Equal(t, http.StatusConflict, b.do(request{method: http.MethodDelete, path: path, token: owner}).Status, "somebody is to be made of it")
}
