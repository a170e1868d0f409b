package simulator

import (
	"sync"
	"time"
)

// Clock is the simulator's time: the real one, or one that stands still; both can be moved forward.
type Clock struct {
	mu     sync.Mutex
	frozen bool
	at     time.Time     // when frozen
	offset time.Duration // otherwise
}

// NewClock returns a clock that runs with the real time.
func NewClock() *Clock { return &Clock{} }

// NewVirtualClock returns a clock that stands still at start and moves by Advance only.
func NewVirtualClock(start time.Time) *Clock { return &Clock{frozen: true, at: start} }

// Now returns the simulated time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.frozen {
		return c.at
	}
	return time.Now().Add(c.offset)
}

// Advance moves the clock; a Simulator that uses it has to be told by its own Advance.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
	c.offset += d
}

// runs reports whether waiting makes the clock move.
func (c *Clock) runs() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.frozen
}
