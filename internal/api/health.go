package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"controlplane/internal/errs"
)

// probeTimeout bounds all readiness checks together, since whoever asks has a time-out of their own.
const probeTimeout = 3 * time.Second

type indexAnswer struct {
	Message string `json:"message"`
	Version string `json:"version"`
}

type healthAnswer struct {
	Status  string `json:"status"`
	Version string `json:"version"`
}

type readyAnswer struct {
	Status string            `json:"status"`
	Checks map[string]string `json:"checks"`
}

func (s *server) index(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, http.StatusOK, indexAnswer{Message: s.opts.AppName + " API", Version: s.opts.Version})
}

// health says that the process is alive, and nothing about what it needs: a restart wouldn't bring a database back.
func (s *server) health(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, http.StatusOK, healthAnswer{Status: "healthy", Version: s.opts.Version})
}

// ready names what is wrong; the reasons are in the log only.
func (s *server) ready(w http.ResponseWriter, r *http.Request) error {
	// Where the database is away nothing can be counted, and that is what is to be told.
	if err := s.limitAddress(r, "ready", s.opts.Rates.Ready); errs.KindOf(err) == errs.RateLimited {
		return err
	}
	failures := s.probe(r.Context())
	if err := notReady(s.deps.Checks, failures); err != nil {
		return err
	}
	checks := map[string]string{}
	for _, c := range s.deps.Checks {
		checks[c.Name] = "ok"
	}
	return reply(w, http.StatusOK, readyAnswer{Status: "ready", Checks: checks})
}

// probe runs all checks side by side and returns their errors in the same order.
func (s *server) probe(ctx context.Context) []error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	failures := make([]error, len(s.deps.Checks))
	var wg sync.WaitGroup
	for i, c := range s.deps.Checks {
		wg.Go(func() {
			if err := c.Probe(ctx); err != nil {
				failures[i] = fmt.Errorf("%s: %w", c.Name, err)
			}
		})
	}
	wg.Wait()
	return failures
}

func notReady(checks []Check, failures []error) error {
	var names []string
	var fields []errs.Field
	for i, err := range failures {
		if err != nil {
			names = append(names, checks[i].Name)
			fields = append(fields, errs.Field{Name: checks[i].Name, Code: "not_ready", Message: checks[i].Name + " doesn't work."})
		}
	}
	if names == nil {
		return nil
	}
	e := errs.New(errs.Unavailable, "not_ready", "Not ready: "+strings.Join(names, ", ")+".").WithCause(errors.Join(failures...))
	e.Fields = fields
	return e
}
