package backup

import "golang.org/x/sync/semaphore"

// lane is a queue that keeps work of one sort from waiting for that of another.
type lane int

const (
	laneScheduled lane = iota
	laneAsked          // for what somebody waits: a person, a restore, a deletion
	laneImports        // of strangers' dumps, which may take any time that they like
	laneLooks          // at what is stored
)

func laneOf(k Kind) lane {
	switch k {
	case Daily, Hourly:
		return laneScheduled
	case Imported:
		return laneImports
	case Manual, Safety, Final:
	}
	return laneAsked
}

// lanes bound what one process does at a time.
type lanes [laneLooks + 1]*semaphore.Weighted

func newLanes(atOnce int64) lanes {
	return lanes{semaphore.NewWeighted(atOnce), semaphore.NewWeighted(atOnce), semaphore.NewWeighted(atOnce), semaphore.NewWeighted(1)}
}

// enter doesn't wait. What it returns is to be called at the end.
func (l lanes) enter(which lane) (leave func(), ok bool) {
	if !l[which].TryAcquire(1) {
		return nil, false
	}
	return func() { l[which].Release(1) }, true
}
