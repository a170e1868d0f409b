package api_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/api"
)

// running makes a client that runs, as far as our rows go.
func (b *bundle) running(token, name string) {
	b.t.Helper()
	b.client(token, name)
	_, err := b.pool.Exec(b.t.Context(), "UPDATE tenants SET state = 'active', paid_at = now(), activated_at = now() WHERE name = $1", name)
	require.NoError(b.t, err)
}

// backupsDone ends all backups that are under way, and well.
func (b *bundle) backupsDone() {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), `UPDATE backups SET state = 'done', started_at = created_at, finished_at = created_at, verified_at = created_at,
		manifest = '{}', stored_bytes = 3 * 512 * 1024 WHERE state IN ('queued', 'running')`)
	require.NoError(b.t, err)
	_, err = b.pool.Exec(b.t.Context(), "UPDATE operations SET state = 'done', finished_at = now() WHERE finished_at IS NULL")
	require.NoError(b.t, err)
}

// backup takes one of acme and returns its path.
func (b *bundle) backup(token string) string {
	b.t.Helper()
	a := b.post("/api/clients/acme/backup", token, "")
	require.Equal(b.t, http.StatusAccepted, a.Status, "%s", a.Body)
	b.backupsDone()
	taken, _ := a.object()["backup"].(map[string]any)
	id, _ := taken["id"].(float64)
	return "/api/backups/" + strconv.Itoa(int(id))
}

func TestBackups_AreOrdered(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.user("owner")
	b.running(owner, "acme")
	for _, kind := range []string{"daily", "weekly", "", "manual&backup_type=final", "%00", "%ff"} {
		a := b.post("/api/clients/acme/backup?backup_type="+kind, owner, "")
		require.Equal(t, http.StatusUnprocessableEntity, a.Status, "%q: %s", kind, a.Body)
	}
	require.Equal(t, http.StatusBadRequest, b.post("/api/clients/acme/backup?backup_type=%zz", owner, "").Status)
	require.Zero(t, b.count("backups"))

	a := b.post("/api/clients/acme/backup?backup_type=manual", owner, "")
	require.Equal(t, http.StatusAccepted, a.Status)
	require.Equal(t, true, a.object()["success"])
	require.Regexp(t, `^acme_manual_\d{8}_\d{6}_[0-9a-f]{8}$`, a.object()["filename"])
	require.Regexp(t, `^https://api\.example\.com/api/backups/\d+$`, a.Header.Get("Location"))
	taken, _ := a.object()["backup"].(map[string]any)
	require.Equal(t, "pending", taken["status"])
	require.Equal(t, "owner", taken["requested_by"])
	operation, _ := taken["operation_id"].(float64)
	path := "/api/operations/" + strconv.Itoa(int(operation))
	require.Equal(t, http.StatusOK, b.get(path, owner).Status)
	require.Equal(t, http.StatusNotFound, b.get(path, b.user("stranger")).Status)
	require.Equal(t, http.StatusOK, b.get(path, b.admin()).Status)

	busy := b.post("/api/clients/acme/backup", owner, "")
	require.Equal(t, http.StatusConflict, busy.Status)
	require.Equal(t, "A backup of this client is being taken already.", busy.detail())
	b.backupsDone()
	for range 4 {
		b.backup(owner)
	}
	late := b.post("/api/clients/acme/backup", owner, "")
	require.Equal(t, http.StatusTooManyRequests, late.Status)
	require.NotEmpty(t, late.Header.Get("Retry-After"))
	require.Equal(t, 5, b.count("backups"))
}

func TestBackups_AreListed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner, stranger, admin := b.user("owner"), b.user("stranger"), b.admin()
	b.running(owner, "acme")
	first, second := b.backup(owner), b.backup(owner)
	list := func(token, query string) (paths []string, total int) {
		a := b.get("/api/backups"+query, token)
		require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
		var out struct {
			Backups []struct {
				ID int `json:"id"`
			} `json:"backups"`
			Total int `json:"total"`
		}
		a.json(&out)
		require.Equal(t, strconv.Itoa(out.Total), a.Header.Get("X-Total-Count"))
		for _, one := range out.Backups {
			paths = append(paths, "/api/backups/"+strconv.Itoa(one.ID))
		}
		return paths, out.Total
	}
	for _, token := range []string{owner, admin} {
		paths, total := list(token, "")
		require.Equal(t, []string{second, first}, paths)
		require.Equal(t, 2, total)
		paths, total = list(token, "?skip=1&limit=1&client_name=acme")
		require.Equal(t, []string{first}, paths)
		require.Equal(t, 2, total)
		paths, _ = list(token, "?client_name=globex")
		require.Empty(t, paths)
	}
	paths, _ := list(stranger, "?client_name=acme")
	require.Empty(t, paths)
	for _, query := range []string{"?limit=0", "?limit=1001", "?skip=-1", "?skip=x", "?client_name=%00"} {
		require.Equal(t, http.StatusUnprocessableEntity, b.get("/api/backups"+query, owner).Status, query)
	}

	one := b.get(first, owner).object()
	require.Equal(t, []any{"completed", "acme", "manual", 1.5, true}, []any{one["status"], one["client_name"], one["backup_type"], one["size_mb"], one["full"]})
	client := b.get("/api/clients/acme", owner).object()
	require.NotNil(t, client["last_backup"])
	require.NotNil(t, client["next_backup"])
	require.Nil(t, client["backup_proven_at"])
	require.Nil(t, client["backup_proof_failed_at"])
	require.Equal(t, []any{7.0, 4.0, 3.0}, []any{client["backup_retention_daily"], client["backup_retention_weekly"], client["backup_retention_monthly"]})
	_, err := b.pool.Exec(t.Context(), "UPDATE backups SET proof_failed_at = now(), proof_error = 'No answer.' WHERE id = (SELECT max(id) FROM backups)")
	require.NoError(t, err)
	require.NotNil(t, b.get("/api/clients/acme", owner).object()["backup_proof_failed_at"])
	require.Equal(t, "No answer.", b.get(second, owner).object()["proof_error"])
	_, err = b.pool.Exec(t.Context(), "UPDATE backups SET proven_at = now() + interval '1 second' WHERE id = (SELECT min(id) FROM backups)")
	require.NoError(t, err)
	client = b.get("/api/clients/acme", owner).object()
	require.NotNil(t, client["backup_proven_at"])
	require.Nil(t, client["backup_proof_failed_at"], "an earlier one is proven since")
	_, err = b.pool.Exec(t.Context(), "UPDATE backups SET broken_at = now(), error = 'The backup is damaged.'")
	require.NoError(t, err)
	require.Equal(t, "failed", b.get(first, owner).object()["status"])
	require.Nil(t, b.get("/api/clients/acme", owner).object()["last_backup"])
}

// What exists but is somebody else's is treated like what doesn't.
func TestBackups_OfOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner, stranger := b.user("owner"), b.user("stranger")
	b.running(owner, "acme")
	path := b.backup(owner)
	for _, id := range []string{path, "/api/backups/999", "/api/backups/0", "/api/backups/-1", "/api/backups/99999999999999999999", "/api/backups/x", "/api/backups/%00"} {
		for _, r := range []request{
			{method: http.MethodGet, path: id},
			{method: http.MethodDelete, path: id},
			{method: http.MethodPost, path: id + "/verify"},
			{method: http.MethodPost, path: id + "/keep"},
			{method: http.MethodPost, path: id + "/restore"},
			{method: http.MethodGet, path: id + "/download"},
		} {
			r.token = stranger
			require.Equal(t, http.StatusNotFound, b.raw(r).Status, "%s %s", r.method, r.path)
			r.token = ""
			require.Equal(t, http.StatusUnauthorized, b.raw(r).Status, "%s %s", r.method, r.path)
		}
	}
	require.Equal(t, "completed", b.get(path, owner).object()["status"])
	require.Equal(t, false, b.get(path, owner).object()["kept"])
	require.Equal(t, 1, b.count("operations WHERE kind LIKE 'backup.%'"))
}

func TestBackups_AreKeptVerifiedAndDeleted(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.TransitionWait = 1 })
	owner, admin := b.user("owner"), b.admin()
	b.running(owner, "acme")
	old, newer := b.backup(owner), b.backup(owner)
	require.Equal(t, true, b.post(old+"/keep", owner, "").object()["kept"])
	require.Equal(t, http.StatusConflict, b.do(request{method: http.MethodDelete, path: old, token: owner}).Status)
	require.Equal(t, http.StatusUnprocessableEntity, b.post(old+"/keep", owner, `{"keep":"no"}`).Status)
	require.Equal(t, false, b.post(old+"/keep", owner, `{"keep":false}`).object()["kept"])

	a := b.post(newer+"/verify", owner, "")
	require.Equal(t, http.StatusAccepted, a.Status, "%s", a.Body)
	require.Equal(t, http.StatusConflict, b.post(newer+"/verify", owner, "").Status)
	require.Equal(t, http.StatusConflict, b.do(request{method: http.MethodDelete, path: newer, token: owner}).Status)
	b.backupsDone()

	a = b.do(request{method: http.MethodDelete, path: old, token: owner})
	require.Equal(t, http.StatusAccepted, a.Status, "%s", a.Body)
	require.Contains(t, a.Header.Get("Location"), "/api/operations/")
	require.Equal(t, "deleting", b.get(old, owner).object()["state"])
	last := b.do(request{method: http.MethodDelete, path: newer, token: owner})
	require.Equal(t, http.StatusConflict, last.Status)
	require.Contains(t, last.detail(), "last good backup")
	require.Equal(t, http.StatusAccepted, b.do(request{method: http.MethodDelete, path: newer, token: admin}).Status)
	require.Equal(t, 3, b.count("activity_log WHERE action IN ('backup.verify', 'backup.delete')"))
}

func TestBackups_AreRestored(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.TransitionWait = 1 })
	owner, admin := b.user("owner"), b.admin()
	b.running(owner, "acme")
	path := b.backup(owner)
	for _, body := range []string{`{"skip_safety_backup":"yes"}`, `{"skip_safety_backup":`, `[]`} {
		a := b.post(path+"/restore", owner, body)
		require.Contains(t, []int{http.StatusBadRequest, http.StatusUnprocessableEntity}, a.Status, body)
	}
	require.Equal(t, http.StatusForbidden, b.post(path+"/restore", owner, `{"skip_safety_backup":true}`).Status)
	require.Zero(t, b.count("operations WHERE kind = 'tenant.restore'"))

	a := b.post(path+"/restore", owner, "")
	require.Equal(t, http.StatusAccepted, a.Status, "%s", a.Body)
	require.Contains(t, a.Header.Get("Location"), "/api/operations/")
	require.Equal(t, http.StatusOK, b.get(strings.TrimPrefix(a.Header.Get("Location"), "https://api.example.com"), owner).Status)
	require.Equal(t, http.StatusConflict, b.post(path+"/restore", owner, "").Status, "one at a time")
	b.backupsDone()
	require.Equal(t, http.StatusAccepted, b.post(path+"/restore", admin, `{"skip_safety_backup":true}`).Status)
	b.backupsDone()
	_, err := b.pool.Exec(t.Context(), "UPDATE backups SET broken_at = now()")
	require.NoError(t, err)
	require.Equal(t, http.StatusConflict, b.post(path+"/restore", owner, "").Status, "what is damaged isn't restored")
	_, err = b.pool.Exec(t.Context(), "UPDATE backups SET broken_at = NULL, kind = 'hourly'")
	require.NoError(t, err)
	require.Equal(t, http.StatusConflict, b.post(path+"/restore", owner, "").Status, "nor what lacks the files")
	require.Equal(t, 2, b.count("activity_log WHERE action = 'backup.restore'"))
}

func TestBackups_WhereNoneAreConfigured(t *testing.T) {
	t.Parallel()
	b := setup(t, func(d *api.Deps, _ *api.Options) { d.Backups, d.BackupPlans = nil, nil })
	owner := b.user("owner")
	b.running(owner, "acme")
	for _, r := range []request{
		{method: http.MethodPost, path: "/api/clients/acme/backup"},
		{method: http.MethodGet, path: "/api/backups"},
		{method: http.MethodGet, path: "/api/backups/1"},
		{method: http.MethodDelete, path: "/api/backups/1"},
		{method: http.MethodPost, path: "/api/backups/1/verify"},
		{method: http.MethodPost, path: "/api/backups/1/keep"},
	} {
		r.token = owner
		a := b.do(r)
		require.Equal(t, http.StatusServiceUnavailable, a.Status)
		require.Contains(t, a.detail(), "no place for them is configured")
	}
	require.Equal(t, http.StatusNotFound, b.post("/api/clients/acme/backup", b.user("stranger"), "").Status)
	client := b.get("/api/clients/acme", owner).object()
	require.Nil(t, client["last_backup"])
	require.Nil(t, client["next_backup"])
}
