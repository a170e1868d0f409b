package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	childStopTimeout = 30 * time.Second
	childRestart     = time.Second
	maxLogBytes      = 50 << 20
)

// child is one of our processes under dev.
type child struct {
	name    string
	program string // "": this same binary
	args    []string
	env     []string
}

// supervisor runs the children and starts one again that ends by itself, as a service manager would: killing the control plane is
// something that users of dev should try.
type supervisor struct {
	logs  string // folder
	print func(format string, args ...any)
	wg    sync.WaitGroup
}

// run starts c and returns at once; c goes on until ctx ends.
func (s *supervisor) run(ctx context.Context, c child) {
	s.wg.Go(func() {
		// The kernel kills the child when the *thread* that started it ends, so it has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for ctx.Err() == nil {
			err := s.once(ctx, c)
			if ctx.Err() != nil {
				return
			}
			s.print("%s ended (%v); starting it again. Its log: %s", c.name, err, s.logPath(c.name))
			select {
			case <-ctx.Done():
			case <-time.After(childRestart):
			}
		}
	})
}

// wait returns when all children have ended.
func (s *supervisor) wait() { s.wg.Wait() }

func (s *supervisor) logPath(name string) string { return filepath.Join(s.logs, name+".log") }

func (s *supervisor) once(ctx context.Context, c child) error {
	log, err := openLog(s.logPath(c.name))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	program := c.program
	if program == "" {
		if program, err = os.Executable(); err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
	}
	cmd := exec.CommandContext(ctx, program, c.args...) //nolint:gosec // ourselves, or what was built beside us
	cmd.Env = c.env
	// Its own process group, so that Ctrl-C reaches it once, from us; and it goes when dev is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = childStopTimeout
	cmd.Stdout = log
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", c.name, err)
	}
	s.copyLog(c.name, log, stderr)
	return cmd.Wait()
}

// copyLog writes everything to the log file and shows warnings and errors on the console.
func (s *supervisor) copyLog(name string, log io.Writer, from io.Reader) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		_, _ = fmt.Fprintln(log, line)
		if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") || strings.HasPrefix(line, "controlplane:") ||
			strings.HasPrefix(line, "panic:") {
			s.print("%s: %s", name, line)
		}
	}
	_, _ = io.Copy(log, from) // a line over the buffer's size ends the scan
}

func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLogBytes {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("rotate a log: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // a path of our own
	if err != nil {
		return nil, fmt.Errorf("open a log: %w", err)
	}
	return f, nil
}
