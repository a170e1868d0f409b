package tenants

import (
	"slices"
	"strings"
)

// moves is the transition table that docs/state-machine.md draws. Scheduled goes back to what the tenant was, which its row knows.
var moves = map[State][]State{ //nolint:gochecknoglobals // a constant table
	Pending:      {Provisioning, Scheduled, Deleted},
	Provisioning: {Active, Failed, Deleting},
	Active:       {Suspended, Sleeping, Maintenance, Scheduled, Deleting},
	Suspended:    {Active, Maintenance, Scheduled, Deleting},
	Sleeping:     {Active, Suspended, Maintenance, Scheduled, Deleting},
	Maintenance:  {Active, Suspended, Sleeping, Failed, Deleting},
	Failed:       {Provisioning, Active, Maintenance, Scheduled, Deleting},
	Scheduled:    {Pending, Active, Suspended, Failed, Deleting, Deleted},
	Deleting:     {Deleted},
	Deleted:      {},
}

// States returns all states in the order of a tenant's life.
func States() []State {
	return []State{Pending, Provisioning, Active, Suspended, Sleeping, Maintenance, Failed, Scheduled, Deleting, Deleted}
}

// CanMove reports whether a tenant may go from one state straight to another. Staying is not a move.
func CanMove(from, to State) bool { return slices.Contains(moves[from], to) }

// Known reports whether s is one of our states.
func (s State) Known() bool {
	_, ok := moves[s]
	return ok
}

// Final reports whether no move leads out of s.
func (s State) Final() bool { return s.Known() && len(moves[s]) == 0 }

// words returns the state as it reads in a sentence.
func (s State) words() string { return strings.ReplaceAll(string(s), "_", " ") }
