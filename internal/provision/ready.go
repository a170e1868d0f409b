package provision

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
)

const (
	probeInterval   = 30 * time.Millisecond
	inspectInterval = 300 * time.Millisecond
	probeTimeout    = 20 * time.Second // an Odoo that has just begun to listen answers when its registry is loaded
	edgeTimeout     = 20 * time.Second
	pageBytes       = 4 << 20
	healthPath      = "/web/health"
	crashLoop       = 2 // restarts while we wait that mean that it won't come up
)

// ErrNotReady is returned when an Odoo doesn't come up.
var ErrNotReady = errs.New(errs.Internal, "odoo_not_ready", "Your Odoo doesn't start; we are looking into it.")

// prober asks over HTTP whether an Odoo answers.
type prober struct{ client *http.Client }

func newProber() *prober {
	dialer := &net.Dialer{Timeout: time.Second} // a container that is gone doesn't refuse, it is silent
	return &prober{client: &http.Client{
		Timeout:       probeTimeout,
		Transport:     &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// healthy reports whether base answers its health page with 200. host is the Host header; "" is base's own.
func (p *prober) healthy(ctx context.Context, base, host string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+healthPath, nil)
	if err != nil {
		return err
	}
	req.Host = host
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4096))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered with status %d", healthPath, resp.StatusCode)
	}
	return nil
}

// mostRedirects is how far a page may lead.
const mostRedirects = 5

// page wants a page of base with 200, wherever on the same address it leads to.
func (p *prober) page(ctx context.Context, base, path string) error {
	for range mostRedirects {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
		if err != nil {
			return err
		}
		resp, err := p.client.Do(req)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, pageBytes))
		_ = resp.Body.Close()
		switch next, _ := resp.Location(); {
		case err != nil:
			return fmt.Errorf("read %s: %w", path, err)
		case resp.StatusCode == http.StatusOK:
			return nil
		case next == nil:
			return fmt.Errorf("%s answered with status %d", path, resp.StatusCode)
		default:
			path = next.RequestURI() // whatever host it is known by
		}
	}
	return fmt.Errorf("%s leads nowhere", path)
}

// poll asks until the answer is 200, ctx ends or stop says why to give up.
func (p *prober) poll(ctx context.Context, base, host string, stop <-chan error) error {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	var last error
	for {
		if err := p.healthy(ctx, base, host); err == nil {
			return nil
		} else if ctx.Err() == nil {
			last = err
		}
		select {
		case err := <-stop:
			return err
		case <-ctx.Done():
			return errors.Join(ctx.Err(), last)
		case <-tick.C:
		}
	}
}

func (s *Service) waitForOdoo(ctx context.Context, r *ops.Run) error {
	t, err := s.subject(ctx, r)
	if err != nil {
		return err
	}
	subnet, err := subnetOf(ctx, s.pool, t.ID)
	if err != nil {
		return err
	}
	err = s.waitReady(ctx, containerName(t), addressOf(t, subnet))
	if err == nil {
		return nil
	}
	// An Odoo doesn't come up while its database server is away.
	if _, away := s.database.Inspect(ctx); away != nil {
		return outcome(errors.Join(away, err))
	}
	return s.restart(ctx, t, err)
}

// waitReady waits until the container's Odoo answers, and no longer than it runs.
func (s *Service) waitReady(ctx context.Context, container string, address netip.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.ReadyTimeout)
	defer cancel()
	stop := make(chan error, 1)
	go func() { stop <- s.watch(ctx, container) }()
	base := "http://" + net.JoinHostPort(address.String(), strconv.Itoa(httpPort))
	if err := s.prober.poll(ctx, base, "", stop); err != nil {
		return ErrNotReady.WithCause(fmt.Errorf("wait for %s to answer: %w", container, err))
	}
	return nil
}

// watch returns why a container can't become ready any more, or nil when ctx ends first. An engine that doesn't answer is no reason.
func (s *Service) watch(ctx context.Context, container string) error {
	tick := time.NewTicker(inspectInterval)
	defer tick.Stop()
	first := -1
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		status, err := s.runtime.InspectContainer(ctx, container)
		if err != nil {
			continue
		}
		if first < 0 {
			first = status.Restarts
		}
		switch {
		case !status.Exists:
			return errors.New("the container is gone")
		case status.OOM:
			return errors.New("the container was killed for using more memory than its plan has")
		case !status.Running && status.Restarts == first:
			return fmt.Errorf("the container has stopped with exit code %d", status.ExitCode)
		case status.Restarts-first >= crashLoop:
			return fmt.Errorf("the container stops again and again, last with exit code %d", status.ExitCode)
		}
	}
}

// probeEdge waits until the edge passes requests for the domain on, which is a notification away.
func (s *Service) probeEdge(ctx context.Context, domain string) error {
	if s.opts.EdgeURL == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, edgeTimeout)
	defer cancel()
	if err := s.prober.poll(ctx, s.opts.EdgeURL, domain, nil); err != nil {
		return fmt.Errorf("reach %s through the edge: %w", domain, err)
	}
	return nil
}
