package capacity

import (
	"context"
	"fmt"
)

// Lacking says, in words for operators, what the hosts have too little of for something that is gone again soon: by what is used, since it
// was never promised to anybody. Where nothing is measured, or no longer, nothing is known to be lacking.
func (s *Service) Lacking(ctx context.Context, memoryMB, diskMB int64) ([]string, error) {
	have, err := s.latest(ctx)
	if err != nil || have.hosts == 0 || have.stale(s.now(), s.opts.StaleAfter) {
		return nil, err
	}
	var lacking []string
	for _, r := range []struct {
		what              string
		used, wanted, has int64
	}{
		{"memory", have.memoryUsedMB, memoryMB, have.memoryMB},
		{"disk", have.diskUsedMB, diskMB, have.diskMB},
	} {
		if r.has > 0 && float64(r.used+r.wanted) > float64(r.has)*s.opts.MaxUsedPercent/100 {
			lacking = append(lacking, fmt.Sprintf("%s in MiB: %d of %d are used, and %d more would be", r.what, r.used, r.has, r.wanted))
		}
	}
	return lacking, nil
}
