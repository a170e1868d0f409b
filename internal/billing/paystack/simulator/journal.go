package simulator

import (
	"slices"
	"time"
)

// Entry is one thing that happened, for assertions.
type Entry struct {
	At     time.Time      `json:"at"`
	Kind   string         `json:"kind"`
	Detail map[string]any `json:"detail"`
}

const keptEntries = 10_000

func (s *Simulator) note(kind string, detail map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteLocked(kind, detail)
}

func (s *Simulator) noteLocked(kind string, detail map[string]any) {
	if len(s.journal) >= keptEntries {
		s.journal = slices.Delete(s.journal, 0, keptEntries/2)
	}
	s.journal = append(s.journal, Entry{At: s.now(), Kind: kind, Detail: detail})
	s.opts.Log.Debug("simulator", "kind", kind, "detail", detail)
}

// Journal returns what happened so far, oldest first.
func (s *Simulator) Journal() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.journal)
}
