package main

import (
	"context"
	"fmt"
	"time"

	"controlplane/internal/api"
	"controlplane/internal/capacity"
	"controlplane/internal/cleanup"
	"controlplane/internal/inspect"
	"controlplane/internal/provision"
)

func (p *platform) wireCapacity() {
	c := p.cfg.Capacity
	p.capacity = capacity.New(capacity.Deps{Pool: p.pool, Tenants: p.tenants}, capacity.Options{
		MemoryOvercommit: c.MemoryOvercommit, CPUOvercommit: c.CPUOvercommit, DiskOvercommit: c.DiskOvercommit,
		ConnectionsOvercommit: c.ConnectionsOvercommit, MaxUsedPercent: c.MaxUsedPercent,
	})
}

// wireGauge is for workers: measuring takes the engine and the tenants' database server.
func (p *platform) wireGauge() error {
	var err error
	p.gauge, err = provision.NewGauge(provision.GaugeDeps{
		Pool: p.pool, Tenants: p.tenants, Capacity: p.capacity, Meter: p.engine, Databases: p.cluster, Log: p.log,
	}, provision.GaugeOptions{
		Supernet: p.cfg.Cluster.Supernet, QuotaGrace: p.cfg.Capacity.QuotaGrace(), QuotaOverPercent: p.cfg.Capacity.QuotaOverPercent,
	})
	if err != nil {
		return fmt.Errorf("set up measuring: %w", err)
	}
	return nil
}

func (p *platform) measurements() []cleanup.Sweep {
	return []cleanup.Sweep{
		{
			Name: "host", Description: "Measures what the host has and what of it is used", Cron: "@every 1m", AtStart: true, Timeout: time.Minute,
			Run: cleanup.Plain(p.gauge.Sample),
		},
		{
			Name: "disks", Description: "Measures clients' databases and files, and does what the disk quota says", Cron: "0 * * * *", Jitter: 5 * time.Minute,
			Timeout: 45 * time.Minute, Run: cleanup.Plain(p.gauge.MeasureDisks),
		},
	}
}

// inspector looks at what runs: here, at a worker elsewhere, or nil.
func (p *platform) inspector() (api.Inspector, error) {
	if p.gauge != nil {
		return p.gauge, nil
	}
	client, err := p.remoteWorker()
	if client == nil {
		return nil, err // nil is what the API takes for none
	}
	return client, nil
}

// remoteWorker is nil where none is configured.
func (p *platform) remoteWorker() (*inspect.Client, error) {
	if p.cfg.Worker.URL == "" {
		return nil, nil //nolint:nilnil // having none is a configuration
	}
	token, err := inspect.Token(p.cfg.Auth.SecretKey)
	if err != nil {
		return nil, err
	}
	client, err := inspect.NewClient(p.cfg.Worker.URL, token)
	if err != nil {
		return nil, fmt.Errorf("WORKER_URL: %w", err)
	}
	return client, nil
}

// inspections answers API processes without a worker until ctx ends.
func (p *platform) inspections(ctx context.Context) error {
	token, err := inspect.Token(p.cfg.Auth.SecretKey)
	if err != nil {
		return err
	}
	handler, err := inspect.NewHandler(inspect.ServerDeps{Inspector: p.gauge, Tenant: p.tenants.ByID, Token: token, Log: p.log, Zip: p.zipFor()})
	if err != nil {
		return fmt.Errorf("set up inspections: %w", err)
	}
	return inspect.Serve(ctx, p.cfg.Worker.Listen, handler, p.log, nil)
}
