// Package harness starts a whole platform ("controlplane dev") of its own, for the whole-system tests and the benchmark. It shares
// nothing with another platform on the machine but the engine and its images.
package harness

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/joho/godotenv"
)

const (
	dirPrefix = "odoo-hosting-test-"

	startTimeout = 15 * time.Minute // templates are installed on the way
	stopTimeout  = 2 * time.Minute
)

// Platform is the running system under test.
type Platform struct {
	binary    string
	dir       string            // its state folder
	workDir   string            // an empty folder: no .env of the developer's is read
	Env       map[string]string // what it is configured with
	API       string            // base URLs
	Edge      string
	Simulator string
	Store     string        // where its backups could be kept: set DEV_S3_LISTEN to it
	Pool      *pgxpool.Pool // its database, to look behind the API
	Output    *Transcript

	cmd  *exec.Cmd
	done chan error
}

// New prepares a platform that shares nothing with another one on this machine but the engine and its images.
func New() (*Platform, error) {
	p := &Platform{Output: &Transcript{}}
	var err error
	if p.binary, err = binary(); err != nil {
		return nil, err
	}
	removeLeftovers(p.binary)
	if p.dir, err = os.MkdirTemp("", fmt.Sprintf("%s%d-", dirPrefix, os.Getpid())); err != nil {
		return nil, err
	}
	p.workDir = filepath.Join(p.dir, "cwd")
	if err := os.Mkdir(p.workDir, 0o700); err != nil {
		return nil, err
	}
	ports, err := freeAddresses(7)
	if err != nil {
		return nil, err
	}
	images, err := images()
	if err != nil {
		return nil, err
	}
	p.Env = map[string]string{
		"STATE_DIR": filepath.Join(p.dir, "state"), "TENANT_SUPERNET": supernet().String(),
		"API_LISTEN": ports[0], "EDGE_LISTEN": ":" + Port(ports[1]), "DEV_SIMULATOR_LISTEN": ports[2], "DEV_SIMULATOR_ADMIN_LISTEN": ports[5],
		"DEV_PLATFORM_DB_PORT": Port(ports[3]), "EXTERNAL_DB_PORT": Port(ports[4]), "LOG_LEVEL": "debug",
		"TRUSTED_PROXIES": "127.0.0.1/32", "TEMPLATE_SPARES": "2", "DEV_S3_LISTEN": "off",
		// Whether the machine would do for customers isn't the question here.
		"CAPACITY_MEMORY_OVERCOMMIT": "1000", "CAPACITY_CPU_OVERCOMMIT": "1000", "CAPACITY_DISK_OVERCOMMIT": "1000",
		"CAPACITY_CONNECTIONS_OVERCOMMIT": "1000", "CAPACITY_MAX_USED_PERCENT": "100",
	}
	maps.Copy(p.Env, images)
	p.API, p.Edge, p.Simulator, p.Store = "http://"+ports[0], "http://"+ports[1], "http://"+ports[2], ports[6]
	return p, nil
}

// removeLeftovers cleans up after runs that were killed: no process has the number in their folder's name any more.
func removeLeftovers(binary string) {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	for _, dir := range dirs {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), dirPrefix), "-")
		if _, err := os.Stat(filepath.Join("/proc", pid)); err == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		cmd := exec.CommandContext(ctx, binary, "dev", "clean", "--state-dir", filepath.Join(dir, "state")) //nolint:gosec // our own binary
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "clean up after an earlier run: %v\n%s\n", err, out)
		}
		cancel()
		_ = os.RemoveAll(dir)
	}
}

// Start runs "controlplane dev" and returns when it has printed its walk-through.
func (p *Platform) Start() error {
	p.cmd = p.Command(context.Background(), "dev")
	// Its own group: a test that interrupts it doesn't interrupt "go test".
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	p.cmd.Stderr = p.Output
	if err := p.cmd.Start(); err != nil {
		return err
	}
	ready := make(chan struct{})
	p.done = make(chan error, 1)
	go func() {
		var once sync.Once
		for lines := bufio.NewScanner(out); lines.Scan(); {
			_, _ = fmt.Fprintln(p.Output, lines.Text())
			if strings.Contains(lines.Text(), "# 6. Log in at") {
				once.Do(func() { close(ready) })
			}
		}
		p.done <- p.cmd.Wait()
	}()
	select {
	case <-ready:
		return p.connect()
	case err := <-p.done:
		return fmt.Errorf("it ended: %w", err)
	case <-time.After(startTimeout):
		return errors.New("it isn't ready in time")
	}
}

// Command runs a subcommand with the platform's environment, as an operator on the same machine would.
func (p *Platform) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.binary, args...)
	cmd.Dir = p.workDir
	for _, keep := range []string{"PATH", "HOME", "DOCKER_HOST"} {
		cmd.Env = append(cmd.Env, keep+"="+os.Getenv(keep))
	}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		cmd.Env = append(cmd.Env, name+"="+p.Env[name])
	}
	return cmd
}

func (p *Platform) connect() error {
	settings, err := godotenv.Read(filepath.Join(p.Env["STATE_DIR"], "dev.env"))
	if err != nil {
		return err
	}
	dsn := fmt.Sprintf("postgres://platform:%s@127.0.0.1:%s/platform?sslmode=disable", settings["DEV_PLATFORM_PASSWORD"], p.Env["DEV_PLATFORM_DB_PORT"])
	p.Pool, err = pgxpool.New(context.Background(), dsn)
	return err
}

// Setting returns one of the secrets that dev made up.
func (p *Platform) Setting(name string) string {
	settings, err := godotenv.Read(filepath.Join(p.Env["STATE_DIR"], "dev.env"))
	if err != nil || settings[name] == "" {
		panic("dev.env has no " + name)
	}
	return settings[name]
}

// PID returns the process id of its dev process; those of serve, edge and the simulator are its children.
func (p *Platform) PID() int { return p.cmd.Process.Pid }

// Stop does what Ctrl-C does.
func (p *Platform) Stop() error {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	select {
	case err := <-p.done:
		return err
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		return errors.New("it doesn't end after Ctrl-C")
	}
}

// Remove stops it and removes everything that it made.
func (p *Platform) Remove() {
	if p.cmd != nil && p.cmd.Process != nil {
		_ = p.Stop()
	}
	if p.Pool != nil {
		p.Pool.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if out, err := p.Command(ctx, "dev", "clean").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "clean: %v\n%s\n", err, out)
	}
	_ = os.RemoveAll(p.dir)
}

// PrintLogs writes the ends of its processes' logs to standard error.
func (p *Platform) PrintLogs() {
	logs, _ := filepath.Glob(filepath.Join(p.Env["STATE_DIR"], "logs", "*.log"))
	for _, name := range logs {
		text, _ := os.ReadFile(name)
		lines := strings.Split(string(text), "\n")
		fmt.Fprintf(os.Stderr, "== the end of %s\n%s\n", filepath.Base(name), strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
}

// binary is CONTROLPLANE_BIN, or built for a plain "go test".
func binary() (string, error) {
	if b := os.Getenv("CONTROLPLANE_BIN"); b != "" {
		return b, nil
	}
	dir, err := os.MkdirTemp("", "controlplane-bin-")
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "controlplane")
	cmd := exec.Command("go", "build", "-o", out, "controlplane/cmd/controlplane")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, text)
	}
	return out, nil
}

// images takes the references from the environment, or from the state folder of the checkout. They are turned into content ids: a tag
// that moves during the run would ask for new templates.
func images() (map[string]string, error) {
	found, _ := godotenv.Read("../../.state/images.env")
	out := map[string]string{}
	for _, name := range []string{"ODOO_IMAGE", "POSTGRES_IMAGE"} {
		if out[name] = os.Getenv(name); out[name] == "" {
			out[name] = found[name]
		}
		if out[name] == "" {
			return nil, fmt.Errorf("%s isn't set, and scripts/images.sh hasn't run", name)
		}
		id, err := exec.Command("docker", "image", "inspect", "--format", "{{.Id}}", out[name]).Output() //nolint:gosec,noctx // a local question
		if err != nil {
			return nil, fmt.Errorf("%s is %s, which the engine doesn't have", name, out[name])
		}
		out[name] = strings.TrimSpace(string(id))
	}
	return out, nil
}

// supernet is a random /16 apart from the default, so that several test runs and "make run" share an engine.
func supernet() netip.Prefix {
	var b [1]byte
	_, _ = rand.Read(b[:])
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 216 + b[0]%24, 0, 0}), 16)
}

func freeAddresses(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// Port returns the port of "host:port".
func Port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

// Transcript collects output from several goroutines.
type Transcript struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write appends.
func (t *Transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

// String returns what came so far.
func (t *Transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}
