package backup

import (
	"errors"
	"io"
	"sync"
	"time"

	"controlplane/internal/accounts"
)

const (
	// slowestUpload is how many bytes a second have to come, each minute anew: less than the slowest of lines. Who sends less keeps others from
	// uploading.
	slowestUpload = 32 << 10
	paceEvery     = time.Minute
)

// errSlowUpload is what an arrival ends with that comes too slowly.
var errSlowUpload = errors.New("fewer bytes came in a minute than the slowest line carries")

// arrivals are the uploads that come in just now, of each account one, and what is still to come of them.
type arrivals struct {
	most int

	mu      sync.Mutex
	of      map[accounts.ID]bool
	awaited int64 // bytes that were announced
}

// enter doesn't wait. What it returns is to be called at the end. Errors: ErrImportRunning, ErrImportsBusy.
func (a *arrivals) enter(account accounts.ID) (leave func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.of[account]:
		return nil, ErrImportRunning
	case len(a.of) >= a.most:
		return nil, ErrImportsBusy.WithRetryAfter(time.Minute)
	}
	a.of[account] = true
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.of, account)
	}, nil
}

// expect adds to what is awaited, and returns how much that was before.
func (a *arrivals) expect(n int64) (before int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before = a.awaited
	a.awaited += n
	return before
}

// arrival is a body that has to keep up a pace.
type arrival struct {
	io.Reader
	among *arrivals
	left  int64 // of what was announced
	now   func() time.Time
	since time.Time
	came  int64 // since then
}

// Read ends with errSlowUpload when too little came for a minute.
func (a *arrival) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	part := min(int64(n), a.left)
	a.left -= part
	a.among.expect(-part)
	a.came += int64(n)
	if took := a.now().Sub(a.since); err == nil && took >= paceEvery {
		if a.came < int64(took.Seconds())*slowestUpload {
			return n, errSlowUpload
		}
		a.since, a.came = a.now(), 0
	}
	return n, err //nolint:wrapcheck // as its interface wants it
}

// end gives up what hasn't come.
func (a *arrival) end() {
	a.among.expect(-a.left)
	a.left = 0
}
