package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"flag"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"controlplane/internal/provision"
)

//nolint:gochecknoglobals // shared by the tests of one process: the flag, and what takes seconds to make
var (
	update = flag.Bool("update", false, "write the golden files anew")
	probe  = sync.OnceValues(buildProbe)
	third  atomic.Uint32 // octet of the next test's supernet
)

// probeFiles are the binary of internal/provision/netguard/probetest and the images that hold it.
type probeFiles struct {
	dir       string
	binary    string
	image     string // runs as 4242:4243, named in its passwd; volumes /data and /extra
	rootImage string
}

func TestMain(m *testing.M) {
	flag.Parse()
	third.Store(mathrand.Uint32()) //nolint:gosec // no secret: another process may run the same tests
	code := m.Run()
	if made, err := probe(); err == nil {
		removeProbe(made)
	}
	os.Exit(code)
}

func buildProbe() (probeFiles, error) {
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		return probeFiles{}, err
	}
	made := probeFiles{dir: dir, binary: filepath.Join(dir, "probe")}
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", made.binary, "controlplane/internal/provision/netguard/probetest") //nolint:gosec,noctx // fixed but for the directory
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return made, fmt.Errorf("build the probe: %w: %s", err, out)
	}
	api, err := client.New(client.FromEnv)
	if err != nil {
		return made, err
	}
	tag := "odoo-hosting-test/probe:" + randomID()
	made.image, made.rootImage = tag, tag+"-root"
	entry := `ENTRYPOINT ["/probe"]`
	if err := importProbe(api, made.binary, made.image, []string{entry, "USER tester", "VOLUME /data", "VOLUME /extra"}); err != nil {
		return made, err
	}
	return made, importProbe(api, made.binary, made.rootImage, []string{entry})
}

func importProbe(api *client.Client, binary, tag string, changes []string) error {
	content, err := os.ReadFile(binary) //nolint:gosec // made by this test
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, dir := range []string{"data/", "extra/", "etc/", "tmp/", "run/"} {
		header := &tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o750, Uid: 4242, Gid: 4243}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
	}
	for name, content := range map[string]string{ //nolint:gosec // its passwd holds no password
		"probe":      string(content),
		"etc/passwd": "root:x:0:0::/:\ntester:x:4242:4243::/data:/none\n",
		"etc/group":  "root:x:0:\ntesters:x:4243:\n",
	} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
			return err
		}
		if _, err := w.Write([]byte(content)); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	source := client.ImageImportSource{Source: &archive, SourceName: "-"}
	progress, err := api.ImageImport(context.Background(), source, tag, client.ImageImportOptions{Changes: changes})
	if err != nil {
		return fmt.Errorf("import the probe's image: %w", err)
	}
	defer func() { _ = progress.Close() }()
	return importResult(progress)
}

func removeProbe(made probeFiles) {
	_ = os.RemoveAll(made.dir)
	api, err := client.New(client.FromEnv)
	if err != nil {
		return
	}
	for _, image := range []string{made.image, made.rootImage} {
		_, _ = api.ImageRemove(context.Background(), image, client.ImageRemoveOptions{Force: true})
	}
}

// bundle is a Runtime of an installation of its own, and a network for it that nothing else has.
type bundle struct {
	*Runtime
	probe    probeFiles
	supernet netip.Prefix // a /24
}

func setup(t *testing.T) bundle {
	t.Helper()
	made, err := probe()
	require.NoError(t, err)
	r, err := New(Options{Installation: "test-" + randomID(), Binary: made.binary, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	require.NoError(t, err)
	require.NoError(t, r.Ping(t.Context()), "these tests need a Docker engine")
	b := bundle{Runtime: r, probe: made, supernet: freeSupernet(t, r)}
	t.Cleanup(func() { b.clean(t) })
	return b
}

// freeSupernet returns a /24 that no other test of this process has, and no network of the engine lies in.
func freeSupernet(t *testing.T, r *Runtime) netip.Prefix {
	t.Helper()
	list, err := r.api.NetworkList(t.Context(), client.NetworkListOptions{})
	require.NoError(t, err)
	for range 256 {
		candidate := netip.MustParsePrefix(fmt.Sprintf("10.213.%d.0/24", third.Add(1)%256))
		if !slices.ContainsFunc(list.Items, func(n network.Summary) bool {
			return len(n.IPAM.Config) > 0 && n.IPAM.Config[0].Subnet.Overlaps(candidate)
		}) {
			return candidate
		}
	}
	require.FailNow(t, "the engine has a network in each /24 of 10.213.0.0/16")
	return netip.Prefix{}
}

// clean removes all that bears the test's installation id, and says what didn't go.
func (b bundle) clean(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	objects, err := b.Objects(ctx)
	require.NoError(t, err)
	for _, o := range objects {
		switch o.Kind {
		case "container":
			err = b.RemoveContainer(ctx, o.Name)
		case "network":
			err = b.RemoveNetwork(ctx, o.Name)
		case "volume":
			err = b.RemoveVolume(ctx, o.Name)
		}
		require.NoError(t, err)
	}
	left, err := b.Objects(ctx)
	require.NoError(t, err)
	require.Empty(t, left)
	require.NoError(t, b.Close())
}

// name makes a name that no other test has.
func (b bundle) name(base string) string {
	return base + "_" + strings.TrimPrefix(b.installation, "test-")
}

// network makes the n-th /28 of the test's supernet a network.
func (b bundle) network(t *testing.T, n int) provision.Network {
	t.Helper()
	base := b.supernet.Addr().As4()
	base[3] = byte(n * 16) //nolint:gosec // n is one of a few
	subnet := netip.AddrFrom4(base)
	network := provision.Network{
		Name: b.name(fmt.Sprintf("net%d", n)), Subnet: netip.PrefixFrom(subnet, 28), Gateway: subnet.Next(),
		Labels: map[string]string{LabelClient: "42"},
	}
	require.NoError(t, b.EnsureNetwork(t.Context(), network))
	return network
}

// container describes a tenant's container that runs the probe.
func (b bundle) container(base string, command ...string) provision.Container {
	name := b.name(base)
	return provision.Container{
		Name: name, Image: b.probe.image, Command: command,
		Environment: map[string]string{"ODOO_RC": "/etc/odoo/odoo.conf"},
		Mounts:      []provision.Mount{{Volume: name + "_data", Path: "/data"}, {Volume: name + "_extra", Path: "/extra"}},
		Tmpfs:       map[string]string{"/tmp": "size=8m", "/run": ""},
		MemoryMB:    64, CPUMilli: 500, PIDs: 50,
		Labels: map[string]string{LabelClient: "42", LabelPlan: "basic", LabelOperation: "7"},
	}
}

func randomID() string {
	raw := make([]byte, 5)
	_, _ = rand.Read(raw) // never fails
	return hex.EncodeToString(raw)
}

// answers reports whether the host reaches a tenant.
func answers(t *testing.T, tenant netip.Addr) bool {
	t.Helper()
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(t.Context(), "tcp", netip.AddrPortFrom(tenant, 8069).String())
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// within polls until ok, or fails the test when the time is over.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, limit, 20*time.Millisecond, what)
}
