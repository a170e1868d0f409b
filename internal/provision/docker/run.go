package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"controlplane/internal/provision"
)

const (
	tailLines   = 50
	tailBytes   = 64 << 10
	neverRan    = container.StateCreated
	tailCommand = "read the output of "
)

// RunContainer runs c to its end and removes it on every way out, also when ctx ends. A container of the same name and spec that runs,
// or has ended since a crash of ours, is taken for this run.
func (r *Runtime) RunContainer(ctx context.Context, c provision.Container) (res provision.RunResult, err error) {
	c.Restart = false
	if err := r.EnsureContainer(ctx, c); err != nil {
		return res, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
		defer cancel()
		if removeErr := r.RemoveContainer(ctx, c.Name); removeErr != nil {
			err = errors.Join(err, removeErr)
		}
	}()
	err = r.call(ctx, runCall, "run container "+c.Name, func(ctx context.Context) error {
		found, err := r.mustFind(ctx, c.Name)
		if err != nil {
			return err
		}
		if found.State.Status == neverRan {
			if _, err := r.api.ContainerStart(ctx, found.ID, client.ContainerStartOptions{}); err != nil {
				return err
			}
		}
		if res.ExitCode, err = r.wait(ctx, found.ID); err != nil {
			return err
		}
		res.Tail, err = r.tail(ctx, found.ID, "")
		return err
	})
	return res, err
}

// wait returns the exit code once the container has ended, at once if it has already.
func (r *Runtime) wait(ctx context.Context, id string) (int, error) {
	wait := r.api.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case end := <-wait.Result:
		if end.Error != nil {
			return 0, fmt.Errorf("wait for it: %s", end.Error.Message)
		}
		return int(end.StatusCode), nil
	case err := <-wait.Error:
		return 0, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// tail returns the last lines of the container's output since a time of the engine's ("" for all).
func (r *Runtime) tail(ctx context.Context, id, since string) ([]string, error) {
	logs, err := r.api.ContainerLogs(ctx, id, client.ContainerLogsOptions{
		ShowStdout: true, ShowStderr: true, Tail: strconv.Itoa(tailLines), Since: since,
	})
	if err != nil {
		return nil, fmt.Errorf("%s%s: %w", tailCommand, id, err)
	}
	defer func() { _ = logs.Close() }()
	var out lastBytes
	if _, err := stdcopy.StdCopy(&out, &out, logs); err != nil {
		return nil, fmt.Errorf("%s%s: %w", tailCommand, id, err)
	}
	text := strings.TrimRight(strings.ToValidUTF8(out.String(), "�"), "\n")
	if text == "" {
		return nil, nil
	}
	return strings.Split(text, "\n"), nil
}

// lastBytes keeps the end of what is written to it, so that one endless line can't fill our memory.
type lastBytes struct{ bytes.Buffer }

var _ io.Writer = (*lastBytes)(nil)

// Write never fails.
func (b *lastBytes) Write(p []byte) (int, error) {
	n := len(p)
	_, _ = b.Buffer.Write(p)
	if over := b.Len() - tailBytes; over > 0 {
		b.Next(over)
	}
	return n, nil
}
