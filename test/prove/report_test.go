package prove_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// How many points inside steps are struck: by the bounded run, and of a brief scenario by the full one. A restore's are pg_restore's own
// statements mostly.
const (
	sample  = 2
	thinned = 60
)

// chosen leaves out, in the bounded run, most points inside of steps and all but one phase of the boundaries. The full run leaves out some
// inside of a brief scenario's steps only.
func chosen(points []point, brief bool) []point {
	if all && !brief {
		return points
	}
	var inside, picked []point
	for _, p := range points {
		switch {
		case !p.boundary():
			inside = append(inside, p)
		case all || p.Phase == "after":
			picked = append(picked, p)
		}
	}
	n := sample
	if all {
		n = thinned
	}
	n = min(n, len(inside))
	for i := range n {
		picked = append(picked, inside[(2*i+1)*len(inside)/(2*n)])
	}
	return picked
}

// report counts what was covered of a workflow.
type report struct {
	name                  string
	points                []point
	boundary, inside      int // struck
	missed, failed, calls int
	took                  []time.Duration
}

func newReport(name string, points []point) *report {
	r := &report{name: name, points: points}
	for _, p := range points {
		if p.Phase == "before" {
			r.calls++
		}
	}
	return r
}

func (r *report) add(p point, o outcome, err error) {
	switch {
	case err != nil:
		r.failed++
		return
	case !o.hit:
		r.missed++
		fmt.Printf("  not come past: %s in step %s, %s %q (%d)\n", p.Phase, p.Step, p.Server, p.Call, p.Nth)
		return
	case p.boundary():
		r.boundary++
	default:
		r.inside++
	}
	r.took = append(r.took, o.took)
}

// write prints the row of the table in docs/proofs.md.
func (r *report) write(t *testing.T) {
	t.Helper()
	var steps []string
	for _, p := range r.points {
		if !slices.Contains(steps, p.Step) {
			steps = append(steps, p.Step)
		}
	}
	slices.Sort(r.took)
	middle, most := time.Duration(0), time.Duration(0)
	if n := len(r.took); n > 0 {
		middle, most = r.took[n/2], r.took[n-1]
	}
	fmt.Printf("| %s | %d (%s) | %d | %d | %d | %d | %d | %.1f s | %.1f s |\n", r.name, len(steps), strings.Join(steps, ", "), len(r.points),
		r.boundary, r.inside, r.missed, r.failed, middle.Seconds(), most.Seconds())
}
