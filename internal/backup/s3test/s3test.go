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
	cmd     *exec.Cmd
}

// New starts a server, which ends with the test.
func New(t *testing.T) *Server {
	t.Helper()
	s := &Server{Bucket: "backups", AccessKey: "tests", SecretKey: secrets.RandomPassword(32), root: t.TempDir(), address: freeAddress(t)}
	s.Endpoint = "http://" + s.address
	s.Dir = filepath.Join(s.root, "data", s.Bucket)
	require.NoError(t, os.MkdirAll(s.Dir, 0o700))
	s.Start(t)
	t.Cleanup(s.Stop)
	return s
}

// Start starts it again at the same address.
func (s *Server) Start(t *testing.T) {
	t.Helper()
	path, err := binary()
	require.NoError(t, err, "the S3 server for tests")
	s.cmd = exec.Command(path, "--quiet", "--port", s.address, "--iam-dir", s.root, "posix", filepath.Join(s.root, "data")) //nolint:gosec,noctx // ended by Stop
	s.cmd.Env = []string{"ROOT_ACCESS_KEY_ID=" + s.AccessKey, "ROOT_SECRET_ACCESS_KEY=" + s.SecretKey.Reveal()}
	s.cmd.Stdout, s.cmd.Stderr = io.Discard, io.Discard
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the kernel kills it when the thread that started it ends
	err = s.cmd.Start()
	runtime.UnlockOSThread()
	require.NoError(t, err)
	require.Eventually(t, s.answers, startTimeout, 20*time.Millisecond, "the S3 server doesn't answer")
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
