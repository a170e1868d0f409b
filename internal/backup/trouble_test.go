package backup_test

import (
	"context"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/backup/backuptest"
	"controlplane/internal/backup/s3test"
	s3 "controlplane/internal/backup/store"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/provision"
	"controlplane/internal/provision/docker"
	"controlplane/internal/tenants"
)

// large is more than two parts of an upload, and can't be compressed.
const large = 12 << 20

func noise(size int) string {
	out := make([]byte, size)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(out) // never fails
	return string(out)
}

// through has workers reach the store as the options are changed.
func (p *plant) through(change func(o *s3.Options)) {
	p.Helper()
	o := s3.Options{Endpoint: p.server.Endpoint, Bucket: p.server.Bucket, AccessKey: p.server.AccessKey, SecretKey: p.server.SecretKey}
	change(&o)
	var err error
	p.store, err = s3.New(o)
	require.NoError(p, err)
}

// inner is what belongs to us and our servers: addresses, SQL and its codes, what libraries say of themselves.
var inner = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+|localhost|:\d{2,}|https?:|SELECT|INSERT|SQLSTATE|S3:|StatusCode|dial|goroutine|/tmp|/var`)

// unharmed wants a client to run as ever, whatever became of a backup, and nothing in its name to be left of that.
func (p *plant) unharmed() {
	p.Helper()
	require.Equal(p, tenants.Active, p.state())
	require.False(p, p.runner.stopped.Load())
	require.Zero(p, p.runner.starts.Load(), "nobody was interrupted")
	p.idle()
}

// requireObjects wants so many objects in the store, and no parts of an upload that never ended, which nobody would see and somebody pays for.
// What arrives of one after it was given up goes with the next sweep.
func (p *plant) requireObjects(want int) {
	p.Helper()
	var keys []string
	require.NoError(p, p.store.List(p.Context(), "", func(o backup.Object) error {
		keys = append(keys, o.Key)
		return nil
	}))
	require.Len(p, keys, want)
	_, err := p.store.AbortUploads(p.Context(), "", time.Now().Add(time.Hour))
	require.NoError(p, err)
	stray, err := p.store.AbortUploads(p.Context(), "", time.Now().Add(time.Hour))
	require.NoError(p, err)
	require.Zero(p, stray)
}

// requireFailed wants the owner to read a clear reason, and operators what to do about it.
func (p *plant) requireFailed(b backup.Backup, reason, advice string) {
	p.Helper()
	require.Equal(p, backup.Failed, b.State)
	require.Equal(p, reason, b.Error)
	require.NotRegexp(p, inner, b.Error)
	require.NotNil(p, b.FinishedAt)
	var alert string
	require.NoError(p, p.pool.QueryRow(p.Context(), "SELECT message FROM alerts WHERE kind = 'backup.failed' AND resolved_at IS NULL").Scan(&alert))
	require.Contains(p, alert, p.tenant.Name)
	require.Contains(p, alert, reason)
	require.Contains(p, alert, advice)
	var shown, detail string
	require.NoError(p, p.pool.QueryRow(p.Context(), "SELECT error, error_detail FROM operations WHERE id = $1", b.OperationID).Scan(&shown, &detail))
	require.NotRegexp(p, inner, shown)
	require.NotEqual(p, shown, detail, "which says more")
	require.NotContains(p, detail, p.server.SecretKey.Reveal())
	p.unharmed()
}

// givenUp takes a backup of which all tries but the last two are over, and waits until it is given up.
func (p *plant) givenUp(kind backup.Kind) backup.Backup {
	p.Helper()
	b := p.take(kind)
	_, err := p.pool.Exec(p.Context(), "UPDATE operations SET attempt = 7 WHERE id = $1", b.OperationID)
	require.NoError(p, err)
	engine := p.start()
	opstest.Wait(p.T, engine, b.OperationID, ops.Abandoned)
	opstest.Stop(p.T, engine)
	b, err = p.backups.Get(p.Context(), b.ID)
	require.NoError(p, err)
	return b
}

// says waits until the owner reads this of a backup that isn't given up yet.
func (p *plant) says(b backup.Backup, text string) {
	p.Helper()
	require.Eventually(p, func() bool {
		now, err := p.backups.Get(p.Context(), b.ID)
		return err == nil && now.State == backup.Running && now.Error == text
	}, time.Minute, 20*time.Millisecond)
}

func TestTrouble_AFullStore(t *testing.T) {
	t.Parallel()
	p := build(t)
	p.server.Stop()
	p.server = s3test.NewOnDisk(t, large-1<<20)
	p.through(func(*s3.Options) {})
	p.file(noise(large))
	p.requireFailed(p.givenUp(backup.Daily), backup.ErrStoreFull.Message, "Make room")
	p.requireObjects(0)
	require.Equal(t, backup.Done, p.took(p.start(), backup.Hourly, ops.Done).State, "what fits is stored")
	require.Zero(t, p.openAlerts())
}

func TestTrouble_WrongKeys(t *testing.T) {
	t.Parallel()
	p := build(t)
	right := p.store
	p.through(func(o *s3.Options) { o.SecretKey = "not the one that the server knows" })
	b := p.givenUp(backup.Daily)
	p.store = right
	p.requireFailed(b, backup.ErrStoreRefused.Message, "S3_SECRET_KEY")
	p.requireObjects(0)
	require.True(t, p.took(p.start(), backup.Daily, ops.Done).Good())
	require.Zero(t, p.openAlerts())
}

// A line that breaks on the way there fails the attempt, since a part isn't sent in halves; on the way back it goes on where it broke.
func TestTrouble_ALineThatBreaks(t *testing.T) {
	t.Parallel()
	p := build(t)
	line := p.server.Line(t)
	p.through(func(o *s3.Options) { o.Endpoint = line.Endpoint })
	p.file(noise(large))
	line.Break(s3test.Up, 3<<20, nil)
	engine := p.start()
	b := p.take(backup.Daily)
	p.says(b, backup.ErrStoreUnreachable.Message)
	require.Equal(t, tenants.Active, p.state())
	line.Break(s3test.Down, 2<<20, nil)
	opstest.Wait(t, engine, b.OperationID, ops.Done)
	b, err := p.backups.Get(t.Context(), b.ID)
	require.NoError(t, err)
	require.True(t, b.Good())
	require.Empty(t, b.Error)
	p.requireObjects(3)
	require.Zero(t, p.openAlerts(), "it ended well")
	p.unharmed()
}

// A server that takes its time is waited for; one that doesn't answer at all isn't, for ever.
func TestTrouble_ASlowStore(t *testing.T) {
	t.Parallel()
	p := build(t)
	line := p.server.Line(t)
	p.through(func(o *s3.Options) {
		o.Endpoint, o.CallTimeout, o.StallAfter = line.Endpoint, 4*time.Second, 2*time.Second
	})
	silent := make(chan struct{})
	line.Break(s3test.Down, 0, func() { <-silent })
	engine := p.start()
	b := p.take(backup.Hourly)
	p.says(b, backup.ErrStoreUnreachable.Message)
	require.Equal(t, tenants.Active, p.state())
	line.Mend()
	close(silent)
	opstest.Wait(t, engine, b.OperationID, ops.Done)
	opstest.Stop(t, engine)

	p.through(func(o *s3.Options) { o.Endpoint = line.Endpoint })
	p.file(noise(large))
	line.Slow(8 << 20)
	began := time.Now()
	b = p.took(p.start(), backup.Daily, ops.Done)
	require.True(t, b.Good())
	require.Greater(t, time.Since(began), 2*time.Second, "as long as it takes")
	line.Mend()
	p.requireObjects(5)
	p.unharmed()
}

// small is a runner whose engine makes volumes on a disk of one megabyte.
type small struct {
	*runner

	p *plant
}

func (s small) EnsureVolume(ctx context.Context, t tenants.Tenant, volume string) error {
	first, _ := provision.Filestore(s.p.tenant)
	own, err := exec.CommandContext(ctx, "docker", "volume", "inspect", "--format", `{{index .Labels "`+docker.LabelInstallation+`"}}`, first).Output() //nolint:gosec // of this test
	if err != nil {
		return err
	}
	return exec.CommandContext(ctx, "docker", "volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=1m", //nolint:gosec // of this test
		"--label", docker.LabelInstallation+"="+strings.TrimSpace(string(own)), "--label", docker.LabelClient+"="+t.ID.String(), volume).Run()
}

// What is measured first may be gone when it is needed: what there was is touched by neither.
func TestTrouble_ADiskThatFillsDuringARestore(t *testing.T) {
	t.Parallel()
	p := build(t)
	p.file(noise(large))
	p.run = small{p.runner, p}
	engine := p.start()
	b := p.took(engine, backup.Daily, ops.Done)
	op, err := p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
	require.NoError(t, err)
	ended := opstest.Wait(t, engine, op.ID, ops.Abandoned)
	require.Equal(t, backup.ErrNoSpace.Message, ended.Error)
	p.unharmed()
	require.Contains(t, p.files(), backuptest.FileName(logo))
	p.leavesNothing()
}

// Whoever is in the midst of something when the databases are exchanged is cut off, as is told beforehand, and nothing waits for them.
func TestTrouble_ARestoreWhileSomebodyWorks(t *testing.T) {
	t.Parallel()
	p, engine, b := buildLost(t)
	user := p.odoo.Session(t)
	_, err := user.Exec(t.Context(), "BEGIN; INSERT INTO res_partner (name) VALUES ('half an order')")
	require.NoError(t, err)
	op, err := p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{})
	require.NoError(t, err)
	opstest.Wait(t, engine, op.ID, ops.Done)
	_, err = user.Exec(t.Context(), "COMMIT")
	require.Error(t, err)
	require.Equal(t, 1000, p.odoo.Partners(t))
	require.Equal(t, tenants.Active, p.state())
}
