// Package s3test gives tests an S3 server of their own: versitygw, on a folder that goes with the test.
package s3test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/secrets"
)

const (
	startTimeout = time.Minute
	buildTimeout = 15 * time.Minute
	module       = "github.com/versity/versitygw/cmd/versitygw"
)

// Server is a running S3 server with one bucket.
type Server struct {
	Endpoint  string
	Bucket    string
	AccessKey string
	SecretKey secrets.Secret
	Dir       string // where the bucket's objects lie, as files

	address string
	root    string
	disk    int64 // bytes of a disk of its own; 0: the machine's
	cmd     *exec.Cmd
}

// New starts a server, which ends with the test.
func New(t *testing.T) *Server {
	t.Helper()
	return start(t, 0)
}

// NewOnDisk starts a server whose disk holds so many bytes. The disk is empty again after Stop.
func NewOnDisk(t *testing.T, bytes int64) *Server {
	t.Helper()
	return start(t, bytes)
}

func start(t *testing.T, disk int64) *Server {
	t.Helper()
	s := &Server{Bucket: "backups", AccessKey: "tests", SecretKey: secrets.RandomPassword(32), root: t.TempDir(), address: freeAddress(t), disk: disk}
	s.Endpoint = "http://" + s.address
	s.Dir = filepath.Join(s.root, "data", s.Bucket)
	require.NoError(t, os.MkdirAll(s.Dir, 0o700))
	require.NoError(t, os.Mkdir(filepath.Join(s.root, "notes"), 0o700))
	s.Start(t)
	t.Cleanup(s.Stop)
	return s
}

// Start starts it again at the same address.
func (s *Server) Start(t *testing.T) {
	t.Helper()
	path, err := binary()
	require.NoError(t, err, "the S3 server for tests")
	command := []string{path, "--quiet", "--port", s.address, "--iam-dir", s.root, "posix", filepath.Join(s.root, "data")}
	attributes := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if s.disk > 0 {
		command = s.onDisk(command, attributes)
	}
	s.cmd = exec.Command(command[0], command[1:]...) //nolint:gosec,noctx // ended by Stop
	s.cmd.Env = []string{"ROOT_ACCESS_KEY_ID=" + s.AccessKey, "ROOT_SECRET_ACCESS_KEY=" + s.SecretKey.Reveal(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	s.cmd.Stdout, s.cmd.Stderr = io.Discard, io.Discard
	s.cmd.SysProcAttr = attributes
	runtime.LockOSThread() // the kernel kills it when the thread that started it ends
	err = s.cmd.Start()
	runtime.UnlockOSThread()
	require.NoError(t, err)
	require.Eventually(t, s.answers, startTimeout, 20*time.Millisecond, "the S3 server doesn't answer")
	if s.disk > 0 {
		s.Dir = filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid), "root", s.root, "data", s.Bucket)
	}
}

// onDisk has the command see a file system in memory, of the size of its disk, where its data are; nobody else sees it, and it goes with the
// command. What the server notes beside objects isn't on it: not every such file system takes that.
func (s *Server) onDisk(command []string, attributes *syscall.SysProcAttr) []string {
	attributes.Cloneflags = syscall.CLONE_NEWNS
	if uid := os.Getuid(); uid != 0 {
		attributes.Cloneflags |= syscall.CLONE_NEWUSER
		attributes.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		attributes.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	data := filepath.Join(s.root, "data")
	const script = `mount --make-rprivate / && mount -t tmpfs -o size="$1" tmpfs "$2" && mkdir "$2/$3" && shift 3 && exec "$@"`
	last := len(command) - 1
	command = append(command[:last:last], "--sidecar", filepath.Join(s.root, "notes"), command[last])
	return append([]string{"sh", "-c", script, "sh", strconv.FormatInt(s.disk, 10), data, s.Bucket}, command...)
}

// Stop ends the server; a second time is harmless.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

func (s *Server) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint, nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return res.Body.Close() == nil
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // done at once
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// binary finds the server that make has built, or builds it, which takes minutes.
var binary = sync.OnceValues(func() (string, error) { //nolint:gochecknoglobals // what takes minutes is done once
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(file), "..", "..", "..")
	path := filepath.Join(root, "bin", "versitygw")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	made := path + "." + strconv.Itoa(os.Getpid())
	build := exec.CommandContext(ctx, "go", "-C", filepath.Join(root, "tools", "s3"), "build", "-trimpath", "-buildvcs=false", "-o", made, module) //nolint:gosec // fixed but for our own folder
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return string(out), err
	}
	return path, os.Rename(made, path)
})
