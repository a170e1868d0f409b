package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

const (
	toolMemoryMB = 512
	toolPIDs     = 64
	toolShares   = 256 // of the processor when others want it too; a tenant has 1024
)

// RunTool runs a program of a database server's image, as its user, on the host's network: it reaches what we reach. What stdin gives goes
// to it, what it writes comes to stdout, and neither is kept on the engine's disk, so that secrets may pass. It succeeds when the program ended
// well and all that it wrote has come. The error of a program that fails holds the end of what it complained of, and may name hosts. One of
// the name that a crash left is removed first. How long it may take is for ctx to say.
func (r *Runtime) RunTool(ctx context.Context, name, tenant, image string, command []string, stdin io.Reader, stdout io.Writer) error {
	if err := r.RemoveContainer(ctx, name); err != nil {
		return err
	}
	end := newEnd(stdout)
	id, err := r.createTool(ctx, name, tenant, image, end.after(command))
	if err != nil {
		return err
	}
	defer func() {
		if err := r.removeTool(ctx, name); err != nil {
			r.log.Warn("a tool's container stays behind", "container", name, "error", err)
		}
	}()
	return r.call(ctx, toolCall, "run "+name, func(ctx context.Context) error { return r.runTool(ctx, id, stdin, end) })
}

func (r *Runtime) removeTool(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	return r.RemoveContainer(ctx, name)
}

func (r *Runtime) createTool(ctx context.Context, name, tenant, image string, command []string) (string, error) {
	img, err := r.Image(ctx, image)
	if err != nil {
		return "", err
	}
	pids, reap := int64(toolPIDs), true
	var id string
	err = r.call(ctx, quickCall, "make container "+name, func(ctx context.Context) error {
		made, err := r.api.ContainerCreate(ctx, client.ContainerCreateOptions{
			Name: name,
			Config: &container.Config{
				Image: img.ID, Entrypoint: command[:1], Cmd: command[1:], User: toolUser,
				OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true,
				Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
				Labels:      r.labelled(map[string]string{LabelClient: tenant}),
			},
			HostConfig: &container.HostConfig{
				NetworkMode: "host", ReadonlyRootfs: true, CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges"},
				IpcMode: container.IPCModePrivate, OomScoreAdj: oomScoreAdjust, Init: &reap,
				Tmpfs:     map[string]string{"/tmp": "nosuid,nodev,noexec,mode=1777,size=1m"},
				LogConfig: container.LogConfig{Type: "none"},
				Resources: container.Resources{
					Memory: toolMemoryMB * megabyte, MemorySwap: toolMemoryMB * megabyte, CPUShares: toolShares, PidsLimit: &pids, Ulimits: ulimits(),
				},
			},
		})
		id = made.ID
		return err
	})
	return id, err
}

// toolUser is who the database server's image runs its programs as.
const toolUser = "postgres"

func (r *Runtime) runTool(ctx context.Context, id string, stdin io.Reader, stdout *end) error {
	streams, err := r.api.ContainerAttach(ctx, id, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		return fmt.Errorf("attach to it: %w", err)
	}
	defer streams.Close()
	stop := context.AfterFunc(ctx, streams.Close)
	defer stop()
	if _, err := r.api.ContainerStart(ctx, id, client.ContainerStartOptions{}); err != nil {
		return fmt.Errorf("start it: %w", err)
	}
	fed := make(chan error, 1)
	go feed(streams.HijackedResponse, stdin, fed) // isn't waited for: it may hang in reading stdin, which is the caller's to end
	var complaints lastBytes
	_, err = stdcopy.StdCopy(stdout, &complaints, streams.Reader)
	select {
	case given := <-fed:
		if given != nil {
			return given
		}
	default:
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("read what it writes: %w", err)
	}
	code, err := r.wait(ctx, id)
	switch {
	case err != nil:
		return err
	case code != 0:
		err := fmt.Errorf("exit code %d: %s", code, strings.TrimSpace(strings.ToValidUTF8(complaints.String(), "�")))
		return errors.Join(err, stdout.flush())
	case !stdout.come():
		// An engine that is started anew in between ends the stream as the program would, and may know no better exit code.
		return ErrUnavailable.WithCause(errors.New("what it writes was cut off"))
	}
	return nil
}

// feed gives a program its standard input. When that can't be read to its end everything is closed, once the reason is told, since the
// program must not take what it got for all. One that doesn't want the rest says so by its exit code.
func feed(streams client.HijackedResponse, stdin io.Reader, reason chan<- error) {
	source := &remembering{r: stdin}
	_, _ = io.Copy(streams.Conn, source)
	reason <- source.err
	if source.err != nil || streams.CloseWrite() != nil {
		streams.Close()
	}
}

// remembering keeps a reader's error.
type remembering struct {
	r   io.Reader
	err error
}

// Read reads on.
func (s *remembering) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
