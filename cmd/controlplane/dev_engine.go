package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// devLabel marks the containers and volumes that dev itself starts: its two database servers. What tenants run on bears the
// installation's label instead and is none of this file's business.
const devLabel = "com.odoo-cloud.dev"

// engineCLI runs the docker command. The database servers of dev are ordinary containers that a user may look at and stop by
// hand, so they are started as the user would; everything of tenants goes through internal/provision/docker.
func engineCLI(ctx context.Context, args ...string) (string, error) {
	bounded, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(bounded, "docker", args...) //nolint:gosec // fixed command, arguments of our own
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("the docker command is missing; \"make run\" installs it, or install Docker")
	}
	switch {
	case err == nil:
		return strings.TrimSpace(stdout.String()), nil
	case ctx.Err() != nil: // Ctrl-C
		return "", ctx.Err()
	case bounded.Err() != nil:
		return "", fmt.Errorf("docker %s: the engine didn't answer in a minute", args[0])
	}
	return "", fmt.Errorf("docker %s: %s", args[0], complaint(stderr.String(), err))
}

// complaint is the line of the docker command's output that says what is wrong; "see the help" may come after it.
func complaint(output string, err error) string {
	for _, line := range slices.Backward(strings.Split(output, "\n")) {
		if line = strings.TrimSpace(line); line != "" && !strings.Contains(line, "--help'") {
			return strings.TrimPrefix(line, "docker: ")
		}
	}
	return err.Error()
}

// ensureService starts the container name, which listens on port, unless it runs already. One that was stopped is started again; the
// arguments count only when it has to be made.
func ensureService(ctx context.Context, instance, name string, port portSetting, runArgs ...string) error {
	state, err := engineCLI(ctx, "ps", "-a", "--filter", "name=^/?"+name+"$", "--filter", "label="+devLabel+"="+instance, "--format", "{{.State}}")
	if err != nil {
		return err
	}
	if state == "running" {
		return nil
	}
	if err := port.free(ctx); err != nil {
		return err
	}
	switch state {
	case "":
		// The volume bears the label too, so that clean finds it.
		if _, err := engineCLI(ctx, "volume", "create", "--label", devLabel+"="+instance, name); err != nil {
			return err
		}
		args := append([]string{
			"run", "-d", "--name", name, "--label", devLabel + "=" + instance, "--restart", "unless-stopped",
			"--log-opt", "max-size=50m", "--log-opt", "max-file=3",
		}, runArgs...)
		_, err = engineCLI(ctx, args...)
	default:
		_, err = engineCLI(ctx, "start", name)
	}
	return err
}

// portSetting is a port on this machine and the variable that sets it.
type portSetting struct{ name, port string }

// free says in one line that the port is taken. The server would only fail to start, or another one would answer in its place.
func (p portSetting) free(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", p.port))
	if err != nil {
		return fmt.Errorf("port %s is in use or can't be used; set %s to another one", p.port, p.name)
	}
	return l.Close()
}

// devObjects returns the names of dev's own containers or volumes.
func devObjects(ctx context.Context, instance, kind string) ([]string, error) {
	list := []string{"ps", "-a", "--format", "{{.Names}}"}
	if kind == "volume" {
		list = []string{"volume", "ls", "--format", "{{.Name}}"}
	}
	out, err := engineCLI(ctx, append(list, "--filter", "label="+devLabel+"="+instance)...)
	if err != nil || out == "" {
		return nil, err
	}
	return strings.Split(out, "\n"), nil
}
