package provision

import (
	"context"
	"slices"
	"strings"
)

// SweepSandboxes removes what is left of sandboxes whose subject no operation works on any more, as lives tells, and returns how many
// objects that were.
func (s *Service) SweepSandboxes(ctx context.Context, lives func(ctx context.Context, subject string) (bool, error)) (removed int, err error) {
	engine, err := s.runtime.EngineObjects(ctx)
	if err != nil {
		return 0, err
	}
	cluster, err := s.database.ClusterObjects(ctx)
	if err != nil {
		return 0, err
	}
	used := map[string]bool{}
	for _, o := range s.sandboxObjects(engine) {
		live, err := lives(ctx, s.sandboxSubject(o.Name))
		if err != nil {
			return removed, err
		}
		if live {
			used[o.Name] = true
			continue
		}
		if err := s.runtime.RemoveObject(ctx, o); err != nil {
			return removed, err
		}
		removed++
	}
	for _, d := range cluster {
		if !strings.HasPrefix(d.Name, s.sandboxPrefix()) {
			continue
		}
		live, err := lives(ctx, d.Owner)
		if err != nil {
			return removed, err
		}
		if live {
			continue
		}
		if err := s.database.RemoveTenant(ctx, d.Name, d.Owner); err != nil {
			return removed, err
		}
		removed++
	}
	if len(used) > 0 { // what isn't on a network yet may be about to be
		return removed, nil
	}
	return removed, s.sweepSandboxNetworks(ctx, engine)
}

// sandboxObjects are containers before the volumes that they use.
func (s *Service) sandboxObjects(engine EngineObjects) []Object {
	var all []Object
	for _, c := range engine.Containers {
		all = append(all, c.Object)
	}
	all = append(all, engine.Volumes...)
	return slices.DeleteFunc(all, func(o Object) bool { return !strings.HasPrefix(o.Name, s.sandboxPrefix()) })
}

// sandboxSubject is the way back from the name of a container or volume.
func (s *Service) sandboxSubject(name string) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(name, s.sandboxPrefix()), "_")
	return "backup/" + id
}

func (s *Service) sweepSandboxNetworks(ctx context.Context, engine EngineObjects) error {
	for _, n := range engine.Networks {
		if !slices.Contains(s.sandboxNetworks(), n.Name) {
			continue
		}
		if err := s.runtime.RemoveNetwork(ctx, n.Name); err != nil {
			return err
		}
	}
	return nil
}
