package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/api"
)

// move is a request about acme's backups, or its life as a copy, with ID for a good one's; want is what who may make it gets. In tests nobody
// works on what is asked for.
type move struct {
	method, path, body, kind string
	want                     int
}

func backupMoves() []move {
	return []move{
		{method: "POST", path: "/api/clients/acme/backup?backup_type=manual", want: 202},
		{method: "POST", path: "/api/clients/acme/import", body: "PK", kind: "application/zip", want: 202},
		{method: "GET", path: "/api/backups/ID", want: 200},
		{method: "POST", path: "/api/backups/ID/verify", want: 202},
		{method: "POST", path: "/api/backups/ID/keep", want: 200},
		{method: "POST", path: "/api/backups/ID/keep", body: `{"keep":false}`, want: 200},
		{method: "GET", path: "/api/backups/ID/download", want: 200},
		{method: "POST", path: "/api/backups/ID/restore", want: 202},
		{method: "POST", path: "/api/backups/ID/restore", body: `{"into":"globex"}`, want: 202},
		{method: "POST", path: "/api/clients/acme/neutralise", want: 202},
		{method: "POST", path: "/api/clients/acme/release", body: `{"confirm":"acme"}`, want: 202},
		{method: "DELETE", path: "/api/backups/ID", want: 202},
	}
}

// as makes a move on a backup that is new, with what was ordered before done.
func (b *bundle) as(caller string, m move, owner string) answer {
	b.t.Helper()
	b.backupsDone()
	_, err := b.pool.Exec(b.t.Context(), "UPDATE backups SET created_at = created_at - interval '2 days', started_at = started_at - interval '2 days'")
	require.NoError(b.t, err)
	b.forgetLimits()
	b.quarantine("acme")
	path := b.backup(owner)
	r := request{method: m.method, token: caller, body: m.body, contentType: m.kind}
	r.path = strings.ReplaceAll(m.path, "/api/backups/ID", path)
	if m.body != "" && m.kind == "" {
		r.contentType = "application/json"
	}
	before := b.snapshot()
	a := b.do(r)
	if a.Status >= http.StatusBadRequest {
		require.Equal(b.t, before, b.snapshot(), "%s %s changed something", m.method, m.path)
	}
	return a
}

// With what exists: whose it isn't finds nothing and changes nothing, whose it is may, and so may an administrator.
func TestBackups_WhoMayDoWhat(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.TransitionWait = 1 })
	owner, stranger, admin := b.user("owner"), b.user("stranger"), b.admin()
	b.running(owner, "acme")
	b.running(owner, "globex")
	for _, m := range backupMoves() {
		for caller, want := range map[string]int{"": http.StatusUnauthorized, stranger: http.StatusNotFound, owner: m.want, admin: m.want} {
			a := b.as(caller, m, owner)
			require.Equal(t, want, a.Status, "%s %s %s: %s", m.method, m.path, m.body, a.Body)
		}
	}
	kept := move{method: http.MethodPost, path: "/api/backups/ID/keep"}
	require.Equal(t, true, b.as(admin, kept, owner).object()["kept"])
	require.Equal(t, 3, b.count("backups WHERE kept"), "the owner's one, and two of the administrator's")
	require.GreaterOrEqual(t, b.count("activity_log WHERE action = 'backup.keep' AND actor = 'root1'"), 2)
}

// A copy belongs to who makes it, which who may not see the backup can't.
func TestBackups_WhoMayMakeACopy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner, stranger, admin := b.user("owner"), b.user("stranger"), b.admin()
	b.running(owner, "acme")
	id := strings.TrimPrefix(b.backup(owner), "/api/backups/")
	copied := func(token string) answer {
		return b.post("/api/clients", token, `{"name":"copy-`+id+`","email":"a@example.com","from_backup":`+id+`}`)
	}
	before := b.snapshot()
	require.Equal(t, http.StatusUnauthorized, copied("").Status)
	require.Equal(t, http.StatusNotFound, copied(stranger).Status)
	require.Equal(t, before, b.snapshot())
	a := copied(admin)
	require.Equal(t, http.StatusCreated, a.Status, "%s", a.Body)
	require.Equal(t, 1, b.count("tenants t JOIN accounts c ON c.id = t.account_id WHERE t.copy_of = "+id+" AND c.username = 'root1'"))
}
