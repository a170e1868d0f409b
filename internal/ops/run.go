package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
)

// Run is one attempt at a step, as a step's functions see it. Its methods may be called by several goroutines of the step.
type Run struct {
	ID      ID
	Subject string
	Step    string
	Attempt int // 1-based, of this step

	input json.RawMessage
	note  func(ctx context.Context, message string)

	measure func(ctx context.Context, p Progress)

	mu     sync.Mutex
	meter  meter
	data   map[string]json.RawMessage
	follow *following
}

// following is the operation that begins when this one is done.
type following struct {
	kind  string
	input any
}

// Input decodes what the operation was enqueued with into v.
func (r *Run) Input(v any) error {
	if len(r.input) == 0 {
		return nil
	}
	if err := json.Unmarshal(r.input, v); err != nil {
		return fmt.Errorf("decode the operation's input: %w", err)
	}
	return nil
}

// Set keeps v under key for later attempts and steps. It is saved with the checkpoint or a snooze and lost with a failed attempt.
// The data can be read by operators, so it never holds secrets.
func (r *Run) Set(key string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the operation's %s: %w", key, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.data == nil {
		r.data = map[string]json.RawMessage{}
	}
	r.data[key] = text
	return nil
}

// Get decodes what was set under key into v and reports whether there was anything.
func (r *Run) Get(key string, v any) (bool, error) {
	r.mu.Lock()
	text, ok := r.data[key]
	r.mu.Unlock()
	if !ok {
		return false, nil
	}
	if err := json.Unmarshal(text, v); err != nil {
		return true, fmt.Errorf("decode the operation's %s: %w", key, err)
	}
	return true, nil
}

// Note adds a line to the log that customers read. It costs no round trip: lines are written in the background after a fraction
// of a second, or with the checkpoint. A crash may lose the last ones.
func (r *Run) Note(ctx context.Context, message string) {
	if r.note != nil {
		r.note(ctx, message)
	}
}

// Follow enqueues an operation on the same subject in the checkpoint that ends this one; before that the subject has a live
// operation, so EnqueueTx would refuse. Only the last step may call it, in its Do or Tx.
func (r *Run) Follow(kind string, input any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.follow = &following{kind: kind, input: input}
}

func (r *Run) following() *following {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.follow
}

func (r *Run) snapshot() map[string]json.RawMessage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.data)
}
