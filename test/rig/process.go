package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Process is one of the platform's.
type Process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// Start runs a subcommand with the rig's settings and more.
func (r *Rig) Start(more map[string]string, args ...string) (*Process, error) {
	cmd := r.Command(context.Background(), args...)
	for _, name := range slices.Sorted(maps.Keys(more)) {
		cmd.Env = append(cmd.Env, name+"="+more[name])
	}
	name := filepath.Join(r.dir, args[0]+".log")
	log, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // a path of our own
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &Process{cmd: cmd, log: name, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel kills the child when the thread that started it ends, so it has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		_ = log.Close()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	r.processes = append(r.processes, p)
	return p, nil
}

// Command is a subcommand with the rig's settings, as an operator on the same machine would run it.
func (r *Rig) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, r.binary, args...) //nolint:gosec // the program under test
	cmd.Dir = r.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")} //nolint:forbidigo // handed on
	for _, name := range slices.Sorted(maps.Keys(r.env)) {
		cmd.Env = append(cmd.Env, name+"="+r.env[name])
	}
	return cmd
}

// Kill is kill -9. It returns when the process is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.done
}

// Stop asks the process to end and waits for it.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.done
}

// PID is its number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Freeze and Thaw stop and resume a process that takes connections and never answers meanwhile.
func (p *Process) Freeze() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen process go on.
func (p *Process) Thaw() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// Ended reports whether it is gone.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// errEnded says that there is nothing to wait for any more.
var errEnded = errors.New("the process has ended")

// Owns reports whether the process has a TCP connection from this local port.
func (p *Process) Owns(port int) bool {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return false
	}
	local := fmt.Sprintf("0100007F:%04X", port)
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[1] != local {
			continue
		}
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.cmd.Process.Pid))
		for _, l := range links {
			if target, err := os.Readlink(l); err == nil && target == "socket:["+f[9]+"]" {
				return true
			}
		}
	}
	return false
}

// check adds to err that the process ended.
func (p *Process) check(err error) error {
	if err != nil && p.Ended() {
		return fmt.Errorf("%w; the end of its log:\n%s", errEnded, p.Tail(20))
	}
	return err
}

// Tail returns the last lines of its log.
func (p *Process) Tail(lines int) string {
	text, _ := os.ReadFile(p.log)
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Log returns the path of its log.
func (p *Process) Log() string { return p.log }

const poll = 15 * time.Millisecond

// Eventually repeats check until it returns nil, and returns its last error when the time is up.
func Eventually(ctx context.Context, within time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var last error
	for {
		err := check(ctx)
		if err == nil || errors.Is(err, errEnded) {
			return err
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %w", within, last)
		case <-time.After(poll):
		}
	}
}

func get(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered with status %d", url, resp.StatusCode)
	}
	return nil
}
