package api_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/api"
	"controlplane/internal/backup"
	"controlplane/internal/errs"
	"controlplane/internal/tenants"
)

// transfers stands for those who make zips and take them in.
type transfers struct {
	tenants *tenants.Service
	backups *backup.Service
	content string
	fail    error // after the content
	got     string
	length  int64
}

func (x *transfers) Zip(_ context.Context, _ backup.Download, w io.Writer) error {
	if x.content != "" {
		if _, err := io.WriteString(w, x.content); err != nil {
			return err
		}
	}
	return x.fail
}

func (x *transfers) Import(ctx context.Context, r backup.Request, client string, body io.Reader, length int64) (backup.Backup, error) {
	t, err := x.tenants.Get(ctx, r.By, client)
	if err != nil {
		return backup.Backup{}, err
	}
	if t.State != tenants.Active {
		return backup.Backup{}, backup.ErrNotNow
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return backup.Backup{}, backup.ErrImportCut.WithCause(err)
	}
	x.got, x.length = string(text), length
	if x.fail != nil {
		return backup.Backup{}, x.fail
	}
	return x.backups.Take(ctx, backup.TakeInput{TenantID: t.ID, Kind: backup.Manual, By: r.By.Username})
}

// link asks for one and returns its path.
func (b *bundle) link(path, token string) string {
	b.t.Helper()
	a := b.get(path+"/download", token)
	require.Equal(b.t, http.StatusOK, a.Status, "%s", a.Body)
	url, _ := a.object()["url"].(string)
	require.Regexp(b.t, `^https://api\.example\.com/api/downloads/bl_[A-Za-z0-9_-]{43}$`, url)
	return strings.TrimPrefix(url, "https://api.example.com")
}

// setupDownload is an owner's backup, at the path, and somebody else.
func setupDownload(t *testing.T) (b *bundle, owner, stranger, path string) {
	t.Helper()
	b = setup(t)
	b.transfers.content = "PK, and so on"
	owner, stranger = b.user("owner"), b.user("stranger")
	b.running(owner, "acme")
	return b, owner, stranger, b.backup(owner)
}

func TestDownloads(t *testing.T) {
	t.Parallel()
	b, owner, stranger, path := setupDownload(t)
	require.Equal(t, http.StatusNotFound, b.get(path+"/download", stranger).Status)
	link := b.link(path, owner)
	head := b.do(request{method: http.MethodHead, path: link})
	require.Equal(t, http.StatusOK, head.Status)
	require.Empty(t, head.Body)
	for range 3 {
		a := b.get(link, "")
		require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
		require.Equal(t, b.transfers.content, string(a.Body))
		require.Equal(t, "application/zip", a.Header.Get("Content-Type"))
		require.Regexp(t, `^attachment; filename="acme_manual_[0-9a-f_]+\.zip"$`, a.Header.Get("Content-Disposition"))
		require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
	}
	over := b.get(link, owner)
	require.Equal(t, http.StatusNotFound, over.Status)
	require.Contains(t, over.detail(), "isn't valid (any more)")
	for _, other := range []string{"x", "bl_", "%00", "..%2f..", strings.Repeat("x", 5000)} {
		require.Equal(t, http.StatusNotFound, b.get("/api/downloads/"+other, "").Status, "%.40s", other)
	}
	require.Equal(t, http.StatusOK, b.get(b.link(path, b.admin()), "").Status)

	late := b.link(path, owner)
	_, err := b.pool.Exec(t.Context(), "UPDATE backup_links SET expires_at = now()")
	require.NoError(t, err)
	require.Equal(t, http.StatusNotFound, b.get(late, "").Status)
	require.NotContains(t, b.log.String(), "bl_", "a link is as good as what it leads to")
	require.Contains(t, b.log.String(), "/api/downloads/[redacted]")

	_, err = b.pool.Exec(t.Context(), "UPDATE backups SET broken_at = now()")
	require.NoError(t, err)
	require.Equal(t, http.StatusConflict, b.get(path+"/download", owner).Status)
}

// A neutralised backup is made first, by an operation that its owner can follow, and downloaded like any other.
func TestDownloads_Neutralised(t *testing.T) {
	t.Parallel()
	b, owner, stranger, path := setupDownload(t)
	ask := path + "/download?neutralised=true"
	require.Equal(t, http.StatusUnauthorized, b.get(ask, "").Status)
	require.Equal(t, http.StatusNotFound, b.get(ask, stranger).Status)
	for _, value := range []string{"maybe", "%00", "2"} {
		require.Equal(t, http.StatusUnprocessableEntity, b.get(path+"/download?neutralised="+value, owner).Status, value)
	}
	require.Zero(t, b.count("backup_neutral_dumps"))

	a := b.get(ask, owner)
	require.Equal(t, http.StatusAccepted, a.Status, "%s", a.Body)
	operation := strings.TrimPrefix(a.Header.Get("Location"), "https://api.example.com")
	require.Equal(t, "backup.neutralise", b.get(operation, owner).object()["kind"])
	require.Equal(t, http.StatusNotFound, b.get(operation, stranger).Status)
	require.Equal(t, a.Header.Get("Location"), b.get(ask, b.admin()).Header.Get("Location"), "the same for all who may ask")
	require.Equal(t, 1, b.count("backup_neutral_dumps"))
	require.Equal(t, http.StatusConflict, b.do(request{method: http.MethodDelete, path: path, token: owner}).Status)

	_, err := b.pool.Exec(t.Context(), `UPDATE backup_neutral_dumps SET state = 'ready', part = '{"object": "x"}', finished_at = now(), expires_at = now() + interval '1 day'`)
	require.NoError(t, err)
	a = b.get(ask, owner)
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	require.Regexp(t, `^acme_manual_[0-9a-f_]+_neutralised\.zip$`, a.object()["filename"])
	url, _ := a.object()["url"].(string)
	a = b.get(strings.TrimPrefix(url, "https://api.example.com"), "")
	require.Equal(t, http.StatusOK, a.Status)
	require.Contains(t, a.Header.Get("Content-Disposition"), "_neutralised.zip")
	require.NotContains(t, b.get(b.link(path, owner), "").Header.Get("Content-Disposition"), "neutralised", "the plain one stays plain")
}

// What breaks before the first byte is told; half a zip doesn't pass for one.
func TestDownloads_ThatBreak(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.user("owner")
	b.running(owner, "acme")
	path := b.backup(owner)
	b.transfers.fail = backup.ErrStoreUnreachable.WithCause(errors.New("dial tcp 10.1.2.3"))
	a := b.get(b.link(path, owner), "")
	require.Equal(t, http.StatusServiceUnavailable, a.Status)
	require.NotContains(t, string(a.Body), "10.1.2.3")
	require.Empty(t, a.Header.Get("Content-Disposition"))

	b.transfers.content = strings.Repeat("half of it", 100_000)
	server := httptest.NewServer(b.handler)
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+b.link(path, owner), nil)
	require.NoError(t, err)
	res, err := server.Client().Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, res.Body.Close()) }()
	require.Equal(t, http.StatusOK, res.StatusCode)
	_, err = io.ReadAll(res.Body)
	require.Error(t, err, "the connection breaks")
}

func TestImports(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner, stranger := b.user("owner"), b.user("stranger")
	b.running(owner, "acme")
	send := func(token, kind, body string) answer {
		return b.do(request{method: http.MethodPost, path: "/api/clients/acme/import", token: token, contentType: kind, body: body})
	}
	require.Equal(t, http.StatusUnauthorized, send("", "application/zip", "PK").Status)
	require.Equal(t, http.StatusNotFound, send(stranger, "application/zip", "PK").Status)
	for _, kind := range []string{"application/json", "multipart/form-data; boundary=x", "text/plain", "nonsense;;"} {
		require.Equal(t, http.StatusBadRequest, send(owner, kind, "PK").Status, kind)
	}
	for _, refusal := range []*errs.Error{backup.ErrImportVersion, backup.ErrBusy, backup.ErrImportCut, backup.ErrImportRoom} {
		b.transfers.fail = refusal
		a := send(owner, "application/zip", "PK")
		require.Equal(t, refusal.Message, a.detail())
	}
	require.Equal(t, 0, b.count("backups"))

	b.transfers.fail = nil
	body := strings.Repeat("PK", 1<<20) // far above what other routes take
	a := send(owner, "application/zip", body)
	require.Equal(t, http.StatusAccepted, a.Status, "%s", a.Body)
	require.Equal(t, body, b.transfers.got)
	require.EqualValues(t, len(body), b.transfers.length)
	require.Contains(t, a.Header.Get("Location"), "/api/backups/")
	require.Contains(t, a.object()["message"], "stop them where it came from")
	b.backupsDone()
	require.Equal(t, http.StatusAccepted, send(b.admin(), "application/octet-stream", "PK").Status)
}

// A stop of the server ends uploads that wait for more, and who sends nothing is cut off.
func TestTransfers_EndWithTheirTime(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.TransferTime = 300 * time.Millisecond })
	owner := b.user("owner")
	b.running(owner, "acme")
	server := httptest.NewServer(b.handler)
	defer server.Close()
	body, more := io.Pipe()
	defer func() { require.NoError(t, more.Close()) }()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/api/clients/acme/import", body)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+owner)
	go func() { _, _ = io.WriteString(more, "PK") }()
	res, err := server.Client().Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, res.Body.Close()) }()
	require.GreaterOrEqual(t, res.StatusCode, 400)
}

func TestTransfers_WithoutAWorker(t *testing.T) {
	t.Parallel()
	b := setup(t, func(d *api.Deps, _ *api.Options) { d.Zips, d.Imports = nil, nil })
	owner := b.user("owner")
	b.running(owner, "acme")
	path := b.backup(owner)
	require.Equal(t, http.StatusServiceUnavailable, b.get(path+"/download", owner).Status)
	require.Equal(t, http.StatusServiceUnavailable, b.post("/api/clients/acme/import", owner, "").Status)
}
