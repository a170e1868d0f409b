package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// devLabel marks the containers and volumes that dev itself starts: its two database servers. What tenants run on bears the
// installation's label instead and is none of this file's business.
const devLabel = "com.odoo-cloud.dev"

// engineCLI runs the docker command. The database servers of dev are ordinary containers that a user may look at and stop by
// hand, so they are started as the user would; everything of tenants goes through internal/provision/docker.
func engineCLI(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", args...) //nolint:gosec // fixed command, arguments of our own
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("the docker command is missing; \"make run\" installs it, or install Docker")
	}
	if err != nil {
		return "", fmt.Errorf("docker %s: %s", args[0], lastLine(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// ensureService starts the container name unless it runs already. One that was stopped is started again; the arguments count only
// when it has to be made.
func ensureService(ctx context.Context, instance, name string, runArgs ...string) error {
	state, err := engineCLI(ctx, "ps", "-a", "--filter", "name=^/?"+name+"$", "--filter", "label="+devLabel+"="+instance, "--format", "{{.State}}")
	if err != nil {
		return err
	}
	switch state {
	case "running":
		return nil
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
