package ops

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// Deps is what an Engine needs.
type Deps struct {
	Pool *pgxpool.Pool // of the platform database, straight or through a session pooler: the heartbeat is a session lock
	Log  *slog.Logger

	// OnHeld is called in the transaction that holds an operation, and OnReleased in the one in which a held operation goes on or
	// is abandoned. Both may be nil.
	OnHeld, OnReleased func(ctx context.Context, tx pgx.Tx, o Operation) error
}

// Options tune an Engine; zero values mean the defaults.
type Options struct {
	Workers           int                             // operations worked on at the same time; default 10
	RescueInterval    time.Duration                   // how often the jobs of dead workers are looked for; default 5 s
	Backoff           func(attempt int) time.Duration // wait after a failed attempt; default 1 s to 5 min, doubling, with jitter
	FetchCooldown     time.Duration                   // least time between two looks for work; default 20 ms
	FetchPollInterval time.Duration                   // a look without being notified, also the grain of short snoozes; default 200 ms
}

func (o Options) withDefaults() Options {
	if o.Workers == 0 {
		o.Workers = 10
	}
	if o.RescueInterval == 0 {
		o.RescueInterval = 5 * time.Second
	}
	if o.Backoff == nil {
		o.Backoff = defaultBackoff
	}
	if o.FetchCooldown == 0 {
		o.FetchCooldown = 20 * time.Millisecond
	}
	if o.FetchPollInterval == 0 {
		o.FetchPollInterval = max(200*time.Millisecond, o.FetchCooldown)
	}
	return o
}

// Engine enqueues operations, and works on them once started. Workflows and periodic tasks are registered before that.
type Engine struct {
	pool      *pgxpool.Pool
	log       *slog.Logger
	opts      Options
	hooks     hooks
	inserter  *river.Client[pgx.Tx] // only inserts, so that an Engine that never starts can enqueue
	workflows map[string]*Workflow
	tasks     []*task

	mu      sync.Mutex
	working map[int64]struct{} // ids of the River jobs in the hands of this process
	started *session           // nil unless started
}

// session is what lives between Start and Stop.
type session struct {
	holder   string
	worker   *river.Client[pgx.Tx]
	lease    *lease
	short    *shortener
	stopping chan struct{} // closed when no further step may begin
	quit     context.CancelFunc
	loops    sync.WaitGroup
}

// New returns an Engine that can enqueue. It doesn't connect.
func New(deps Deps, opts Options) (*Engine, error) {
	if deps.Pool == nil || deps.Log == nil {
		return nil, errors.New("an operations engine needs a pool and a logger")
	}
	e := &Engine{
		pool: deps.Pool, log: deps.Log, opts: opts.withDefaults(), hooks: hooks{held: deps.OnHeld, released: deps.OnReleased},
		workflows: map[string]*Workflow{}, working: map[int64]struct{}{},
	}
	var err error
	// River tells listeners of an insert at most once per FetchCooldown of the inserting client, so this one has the least there is:
	// several operations that are enqueued together must not wait for a poll.
	e.inserter, err = river.NewClient(riverpgxv5.New(deps.Pool), &river.Config{
		FetchCooldown: river.FetchCooldownMin, Logger: quiet(deps.Log),
	})
	if err != nil {
		return nil, fmt.Errorf("set up the queue: %w", err)
	}
	return e, nil
}

// Register makes a workflow known to this process; it must happen before Start. A workflow that can't be told from another, or a
// step from another, is a programming error and panics.
func (e *Engine) Register(w Workflow) {
	if w.Kind == "" || len(w.Steps) == 0 {
		panic("ops: a workflow needs a kind and steps")
	}
	if _, ok := e.workflows[w.Kind]; ok {
		panic("ops: workflow " + w.Kind + " is registered twice")
	}
	seen := map[string]bool{"": true}
	for _, s := range w.Steps {
		if seen[s.Name] {
			panic("ops: workflow " + w.Kind + " has no or no unique name for step " + s.Name)
		}
		seen[s.Name] = true
	}
	if w.MaxAttempts == 0 {
		w.MaxAttempts = DefaultMaxAttempts
	}
	e.workflows[w.Kind] = &w
}

// Start begins to work on operations and to run periodic tasks, until Stop. ctx bounds only the start itself. An error means that
// nothing was started, so that the call may be repeated; later trouble with the database is waited out.
func (e *Engine) Start(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.started != nil {
		return errors.New("the operations engine is started already")
	}
	s := &session{holder: holderID(), stopping: make(chan struct{}), short: newShortener(e)}
	life, quit := context.WithCancel(context.WithoutCancel(ctx))
	s.quit = quit
	s.lease = newLease(e.pool.Config().ConnConfig, s.holder, e.log, func(leadership context.Context) {
		for _, t := range e.tasks {
			s.loops.Go(func() { t.loop(leadership, e.log) })
		}
	})
	if err := e.launch(ctx, life, s); err != nil {
		quit()
		s.loops.Wait()
		return err
	}
	e.started = s
	return nil
}

// launch takes the lock first: a job in the hands of a holder without one would be taken away again.
func (e *Engine) launch(ctx, life context.Context, s *session) error {
	conn, err := s.lease.acquire(ctx)
	if err != nil {
		return fmt.Errorf("take the worker's lock: %w", err)
	}
	s.loops.Go(func() { s.lease.keep(life, conn) })
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{engine: e, session: s})
	s.worker, err = river.NewClient(riverpgxv5.New(e.pool), &river.Config{
		ID: s.holder, Workers: workers, Logger: quiet(e.log),
		Queues:        map[string]river.QueueConfig{queue: {MaxWorkers: e.opts.Workers}},
		FetchCooldown: e.opts.FetchCooldown, FetchPollInterval: e.opts.FetchPollInterval,
		JobTimeout: -1, // steps have their own
		// River's rescuer goes by age alone and would take long operations from workers that are well; see rescue.go for ours.
		RescueStuckJobsAfter:        365 * 24 * time.Hour,
		CompletedJobRetentionPeriod: time.Hour, // the operation's own rows tell the history
		DiscardedJobRetentionPeriod: 24 * time.Hour,
	})
	if err != nil {
		return fmt.Errorf("set up the queue: %w", err)
	}
	rescuer := newRescuer(e, s)
	if err := rescuer.sweep(ctx); err != nil {
		return fmt.Errorf("look for operations that were left behind: %w", err)
	}
	if err := s.worker.Start(life); err != nil {
		return fmt.Errorf("start the queue: %w", err)
	}
	s.loops.Go(func() { rescuer.loop(life) })
	s.loops.Go(func() { s.short.loop(life) })
	return nil
}

// Stop takes no further work, waits for the steps that are being done and gives the rest of their operations to other workers.
// When ctx ends first, the steps' contexts are cancelled and the error says so; their attempts aren't counted.
func (e *Engine) Stop(ctx context.Context) error {
	e.mu.Lock()
	s := e.started
	e.started = nil
	e.mu.Unlock()
	if s == nil {
		return nil
	}
	close(s.stopping)
	err := s.worker.Stop(ctx)
	if err != nil {
		err = fmt.Errorf("wait for running steps: %w", err)
		s.lease.end(errStopped)
		hard, cancel := context.WithTimeout(context.WithoutCancel(ctx), hardStopTimeout)
		defer cancel()
		err = errors.Join(err, s.worker.StopAndCancel(hard))
	}
	// The lock goes last: until here the jobs in our hands are ours.
	s.quit()
	s.loops.Wait()
	return err
}

// hardStopTimeout is how long steps get to notice that their context was cancelled.
const hardStopTimeout = 10 * time.Second

// holderID names this worker in River's rows; it is never used again, so that a restarted process doesn't pass for its predecessor.
func holderID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	return host[:min(len(host), 60)] + "/" + rand.Text() // River takes up to 100 characters
}

func (e *Engine) handle(job int64) (done func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.working[job] = struct{}{}
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.working, job)
	}
}

func (e *Engine) handling(job int64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.working[job]
	return ok
}
