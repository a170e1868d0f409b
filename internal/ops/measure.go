package ops

import (
	"context"
	"encoding/json"
	"time"
)

const (
	// measureEvery is how often what a step says of its way is written.
	measureEvery = 2 * time.Second
	// measureFirst is how long a pace is watched before an end is foretold from it.
	measureFirst = 5 * time.Second
)

// Progress is how far a step has come that moves many bytes.
type Progress struct {
	DoneBytes  int64 `json:"done_bytes"`
	TotalBytes int64 `json:"total_bytes"` // as far as is known
	// SecondsLeft is what the pace until now promises; nil while that can't be told.
	SecondsLeft *int64 `json:"seconds_left"`
}

// meter watches the pace of one attempt.
type meter struct {
	began, told time.Time
	first       int64 // bytes that were done when it began
}

// Measured says how far the step has come, as often as it likes: it is written every two seconds, and gone with the attempt. What can't be
// written is left out.
func (r *Run) Measured(ctx context.Context, done, total int64) {
	if p, ok := r.due(time.Now(), done, total); ok && r.measure != nil {
		r.measure(ctx, p)
	}
}

func (r *Run) due(now time.Time, done, total int64) (Progress, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := &r.meter
	if m.began.IsZero() {
		m.began, m.first = now, done
	}
	if now.Sub(m.told) < measureEvery {
		return Progress{}, false
	}
	m.told = now
	p := Progress{DoneBytes: done, TotalBytes: max(total, done)}
	if took := now.Sub(m.began); took >= measureFirst && done > m.first {
		left := int64(took.Seconds() * float64(p.TotalBytes-done) / float64(done-m.first))
		p.SecondsLeft = &left
	}
	return p, true
}

// measure writes p if the operation is ours still.
func (j *journal) measure(ctx context.Context, p Progress) {
	text, err := json.Marshal(p)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, measureEvery)
	defer cancel()
	j.writing.Lock()
	defer j.writing.Unlock()
	_, _ = j.pool.Exec(ctx, "UPDATE operations SET progress = $3, updated_at = now() WHERE id = $1 AND token = $2 AND finished_at IS NULL",
		j.id, j.token, text) // the next one tells more
}
