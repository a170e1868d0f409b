package backup

import (
	"sync"

	"controlplane/internal/accounts"
)

// lane is a queue that keeps work of one sort from waiting for that of another.
type lane int

const (
	laneScheduled lane = iota
	laneAsked          // for what somebody waits: a person, a restore, a deletion
	laneImports        // of strangers' dumps, which may take any time that they like
	laneRestores       // into clients, whose backups may be made so that they take long
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

// lanes bound what one process does at a time. Half of the places, but for one at least, are as many as one account may have: what it brings
// to be worked on may be slow on purpose, and others wait for theirs. What is scheduled comes in our own order, and is nobody's.
type lanes struct {
	atOnce int64

	mu    sync.Mutex
	taken map[lane]int64
	by    map[holder]int64
}

// holder is an account in a lane.
type holder struct {
	lane    lane
	account accounts.ID
}

func newLanes(atOnce int64) *lanes {
	return &lanes{atOnce: atOnce, taken: map[lane]int64{}, by: map[holder]int64{}}
}

func (l *lanes) room(which lane) (all, each int64) {
	switch which {
	case laneLooks:
		return 1, 1
	case laneScheduled:
		return l.atOnce, l.atOnce
	case laneAsked, laneImports, laneRestores:
	}
	return l.atOnce, max(l.atOnce/2, 1)
}

// Places is how much work that may take hours one process does at a time where so many scheduled backups are taken at once: that of all lanes,
// and in sandboxes. Whoever works on operations needs more places than these, or else nothing short gets done meanwhile.
func Places(atOnce int) int {
	l, places := newLanes(int64(atOnce)), int64(MostTrials)
	for which := laneScheduled; which <= laneLooks; which++ {
		all, _ := l.room(which)
		places += all
	}
	return int(places)
}

// enter takes a place for an account's work, and doesn't wait. What it returns is to be called at the end.
func (l *lanes) enter(which lane, account accounts.ID) (leave func(), ok bool) {
	all, each := l.room(which)
	who := holder{which, account}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken[which] >= all || l.by[who] >= each {
		return nil, false
	}
	l.taken[which]++
	l.by[who]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.taken[which]--
		if l.by[who]--; l.by[who] == 0 {
			delete(l.by, who)
		}
	}, true
}
