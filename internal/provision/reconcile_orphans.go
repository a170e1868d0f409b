package provision

import (
	"slices"
	"strings"
	"time"

	"controlplane/internal/tenants"
)

// Orphan is something that bears the installation's id and that nothing of ours belongs to.
type Orphan struct {
	Object
	Reason    string
	FirstSeen time.Time // zero until it is recorded
	LastSeen  time.Time
	AtOnce    bool // it is in the way of a client that is being made, and goes without a time of grace
	Keep      bool // only a person may remove it
}

// owners is who orphans are told by.
type owners struct {
	live      map[string]bool         // subjects of tenants that aren't deleted
	expected  map[string]TenantView   // names of what they have, or will have
	templates map[string]TemplateView // by name
	shared    []string
	used      map[string]bool // volumes and networks that containers of live tenants hang on to
}

func ownersOf(w Worlds) owners {
	o := owners{map[string]bool{}, map[string]TenantView{}, map[string]TemplateView{}, w.Shared, map[string]bool{}}
	for _, v := range w.Tenants {
		o.live[v.ID.Subject()] = true
		t := v.tenant()
		for _, name := range []string{containerName(t), networkName(t), dataVolume(t), addonsVolume(t), configVolume(t), t.DBName} {
			o.expected[name] = v
		}
	}
	for _, t := range w.Templates {
		o.templates[t.Name] = t
	}
	for _, c := range w.Engine.Containers {
		if o.live[c.Owner] {
			o.used[c.Network] = true
			for _, volume := range c.Volumes {
				o.used[volume] = true
			}
		}
	}
	return o
}

func findOrphans(w Worlds) []Orphan {
	o := ownersOf(w)
	var out []Orphan
	add := func(object Object, reason string) {
		if reason != "" {
			out = append(out, o.judge(Orphan{Object: object, Reason: reason}))
		}
	}
	for _, c := range w.Engine.Containers {
		add(c.Object, o.engineReason(c.Object))
	}
	for _, n := range w.Engine.Networks {
		add(n.Object, o.engineReason(n.Object))
	}
	for _, v := range w.Engine.Volumes {
		add(v, o.engineReason(v))
	}
	for _, d := range w.Cluster {
		add(d.Object, o.clusterReason(d))
	}
	for _, t := range w.Templates {
		if t.Ready && !t.Needed && !t.Busy {
			add(Object{Kind: KindTemplate, Name: t.Name, ID: t.Name}, "no plan needs it any more")
		}
	}
	return out
}

// judge says how it may go. What a container of a live tenant hangs on to stays, whosever it was, and so does what has the name of
// something of a tenant that was active: it may have been taken over.
func (o owners) judge(orphan Orphan) Orphan {
	v, named := o.expected[orphan.Name]
	switch {
	case orphan.Kind != KindContainer && o.used[orphan.Name]:
		orphan.Keep = true
		orphan.Reason += "; a client's container uses it"
	case named && v.WasLive:
		orphan.Keep = true
		orphan.Reason += "; it has the name of client " + v.Name + "'s"
	case named && v.State == tenants.Provisioning:
		orphan.AtOnce = true
	}
	return orphan
}

// engineReason says why something on the engine is an orphan, or "" when it isn't.
func (o owners) engineReason(object Object) string {
	switch {
	case object.Owner != "":
		return o.ownerReason(object.Owner)
	case slices.Contains(o.shared, object.Name):
		return ""
	}
	for _, suffix := range []string{"", "_data", "_addons", "_build", "_config"} {
		name, ok := strings.CutSuffix(object.Name, suffix)
		t, known := o.templates[name]
		if !ok || !known {
			continue
		}
		if t.Ready && !t.Busy && (suffix == "_build" || suffix == "_config") {
			return "its template is built"
		}
		return ""
	}
	return "belongs to no client and to no template"
}

func (o owners) ownerReason(owner string) string {
	if _, ok := tenants.OfSubject(owner); !ok {
		return "belongs to " + owner + ", which makes no sense"
	}
	if o.live[owner] {
		return ""
	}
	return "its client is deleted, or never was"
}

func (o owners) clusterReason(d ClusterObject) string {
	kind, rest, _ := strings.Cut(d.Owner, "/")
	switch kind {
	case "tenant":
		return o.ownerReason(d.Owner)
	case "templates", "backup": // the second is a sandbox's, whose sweep knows whether it is needed
		return ""
	case "template", "spare":
		if _, ok := o.templates[rest]; ok {
			return ""
		}
		return "its template is gone"
	}
	return "was left half-made"
}
