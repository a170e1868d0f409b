package edge

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/tenants"
)

// copyBundle is a table with its copy on disk.
type copyBundle struct {
	*stateFile

	t     *testing.T
	table *table
	asOf  time.Time
}

func setupCopy(t *testing.T) *copyBundle {
	t.Helper()
	c := &copyBundle{t: t, table: newTable(), asOf: time.Now().UTC().Truncate(time.Second)}
	c.stateFile = &stateFile{path: filepath.Join(t.TempDir(), "sub", "routes.json"), edge: "0123456789abcdef"}
	t.Cleanup(c.close)
	c.table.merge([]tenants.Route{{TenantID: 1, Host: "one"}, {TenantID: 2, Host: "two", Domains: []string{"b.test"}}}, c.asOf)
	return c
}

func (c *copyBundle) write() {
	c.t.Helper()
	changed, asOf := c.table.changes()
	require.NoError(c.t, c.save(changed, asOf, c.table))
}

// read returns what an edge would start with.
func (c *copyBundle) read() (hosts map[tenants.ID]string, head stateHead) {
	c.t.Helper()
	head, err := readState(c.path)
	require.NoError(c.t, err)
	hosts = map[tenants.ID]string{}
	for _, r := range head.Routes {
		hosts[r.TenantID] = strings.Join(append([]string{r.Host}, r.Domains...), " ")
	}
	return hosts, head
}

func (c *copyBundle) size() int64 {
	c.t.Helper()
	info, err := os.Stat(c.path)
	require.NoError(c.t, err)
	require.Equal(c.t, os.FileMode(0o600), info.Mode().Perm())
	return info.Size()
}

func TestStateFile_AChangeCostsALine(t *testing.T) {
	t.Parallel()
	c := setupCopy(t)
	c.write()
	hosts, head := c.read()
	require.Equal(t, map[tenants.ID]string{1: "one", 2: "two b.test"}, hosts)
	require.Equal(t, c.asOf, head.AsOf)
	require.Equal(t, c.edge, head.Edge)
	before := c.size()

	c.table.set(tenants.Route{TenantID: 3, Host: "three", Address: netip.MustParseAddr("10.0.0.2")})
	c.table.set(tenants.Route{TenantID: 2, Host: "two"})
	c.table.drop(1)
	c.write()
	require.Less(t, c.size(), before+700)
	hosts, head = c.read()
	require.Equal(t, map[tenants.ID]string{2: "two", 3: "three"}, hosts)
	require.Equal(t, c.asOf, head.AsOf)

	c.table.merge([]tenants.Route{{TenantID: 2, Host: "two"}, {TenantID: 3, Host: "three", Address: netip.MustParseAddr("10.0.0.2")}}, c.asOf.Add(time.Hour))
	changed, _ := c.table.changes()
	require.Empty(t, changed, "a reading that finds nothing new")
	before = c.size()
	c.write()
	require.Less(t, c.size(), before+60)
	_, head = c.read()
	require.Equal(t, c.asOf.Add(time.Hour), head.AsOf)

	c.appended = journalFewest + 1
	c.write()
	require.Less(t, c.size(), before, "now and then it is written anew")
	hosts, _ = c.read()
	require.Len(t, hosts, 2)
}

func TestStateFile_WhatACrashAndAnotherEdgeLeave(t *testing.T) {
	t.Parallel()
	c := setupCopy(t)
	c.write()
	c.table.set(tenants.Route{TenantID: 3, Host: "three"})
	c.write()
	text, err := os.ReadFile(c.path)
	require.NoError(t, err)
	for _, cut := range []int{1, 20, 60} {
		require.NoError(t, os.WriteFile(c.path, text[:len(text)-cut], 0o600))
		hosts, _ := c.read()
		require.Equal(t, "one", hosts[1], "what was whole before the cut counts")
	}

	// The edge that takes over has written its own file in place of ours.
	require.NoError(t, os.Remove(c.path))
	require.NoError(t, os.WriteFile(c.path, []byte("{\"version\":2,\"edge\":\"fedcba9876543210\"}\n"), 0o600))
	c.table.drop(1)
	c.write()
	hosts, head := c.read()
	require.Equal(t, map[tenants.ID]string{2: "two b.test", 3: "three"}, hosts)
	require.Equal(t, c.edge, head.Edge)

	// The disk is full, say: the next writing is a whole one.
	good := c.path
	c.path = filepath.Join(good, "not-a-folder", "routes.json")
	changed, asOf := c.table.changes()
	require.Error(t, c.save(changed, asOf, c.table))
	c.path = good
	c.write()
	hosts, _ = c.read()
	require.Len(t, hosts, 2)
}

func TestStateFile_WhoIsGoneWhenAnEmptiedTableIsFilled(t *testing.T) {
	t.Parallel()
	c := setupCopy(t)
	c.write()
	late := c.asOf.Add(tenants.RoutesLast)
	require.True(t, c.table.expire(late))
	c.table.merge([]tenants.Route{{TenantID: 1, Host: "one"}}, late)
	c.write()
	hosts, head := c.read()
	require.Equal(t, map[tenants.ID]string{1: "one"}, hosts, "the other one's address may be somebody else's by now")
	require.Equal(t, late, head.AsOf)
}

func TestStateFile_OfAnOlderEdge(t *testing.T) {
	t.Parallel()
	c := setupCopy(t)
	e := &Edge{opts: Options{StateFile: c.path}, copyID: "1111111111111111", table: newTable(), log: slog.New(slog.DiscardHandler)}
	load := func(text string) Status {
		t.Helper()
		require.NoError(t, os.MkdirAll(filepath.Dir(c.path), 0o700))
		require.NoError(t, os.WriteFile(c.path, []byte(text), 0o600))
		e.table = newTable()
		e.loadState(t.Context())
		return e.table.status()
	}
	recent, old := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), time.Now().Add(-15*24*time.Hour).UTC().Format(time.RFC3339)
	require.Equal(t, 1, load(`{"version":1,"saved_at":"`+recent+`","routes":[{"TenantID":1,"Host":"one"}]}`).Routes)
	require.Equal(t, "1111111111111111", e.copyID)
	require.False(t, load(`{"version":1,"saved_at":"`+old+`","routes":[{"TenantID":1,"Host":"one"}]}`).Loaded, "an address in it may be another tenant's by now")
	require.False(t, load(`{"version":3,"saved_at":"`+recent+`"}`).Loaded)
	require.True(t, load(`{"version":2,"edge":"2222222222222222","saved_at":"`+recent+`"}`).Loaded)
	require.Equal(t, "2222222222222222", e.copyID, "it goes on with the copy's name")
}

func TestTable_IsEmptiedWhenItIsTooOld(t *testing.T) {
	t.Parallel()
	table := newTable()
	now := time.Now()
	require.False(t, table.expire(now), "there is none")
	table.merge([]tenants.Route{{TenantID: 1, Host: "one"}}, now)
	require.False(t, table.expire(now.Add(13*24*time.Hour)))
	require.True(t, table.expire(now.Add(14*24*time.Hour)))
	require.False(t, table.expire(now.Add(15*24*time.Hour)), "it is told once")
	_, found, loaded := table.find("one")
	require.False(t, found)
	require.False(t, loaded)
	table.merge([]tenants.Route{{TenantID: 1, Host: "one"}}, now.Add(16*24*time.Hour))
	_, found, loaded = table.find("one")
	require.True(t, found)
	require.True(t, loaded)
}

func TestTable_WhatIsHeardWhileReadingIsNewer(t *testing.T) {
	t.Parallel()
	table := newTable()
	table.merge([]tenants.Route{{TenantID: 1, Host: "one", State: tenants.Active}, {TenantID: 2, Host: "two"}}, time.Now())
	table.beginReading()
	require.True(t, table.set(tenants.Route{TenantID: 1, Host: "one", State: tenants.Suspended, Domains: []string{"a.test"}}))
	require.False(t, table.set(tenants.Route{TenantID: 1, Host: "one", State: tenants.Suspended, Domains: []string{"a.test"}}))
	table.drop(2)
	table.set(tenants.Route{TenantID: 3, Host: "three"})
	stale := []tenants.Route{{TenantID: 1, Host: "one", State: tenants.Active}, {TenantID: 2, Host: "two"}, {TenantID: 4, Host: "four", Domains: []string{"d.test"}}}
	require.True(t, table.merge(stale, time.Now()), "a domain is new")
	one, _, _ := table.find("one")
	require.Equal(t, tenants.Suspended, one.State)
	for host, want := range map[string]bool{"two": false, "three": true, "four": true, "a.test": true, "d.test": true} {
		_, found, _ := table.find(host)
		require.Equal(t, want, found, host)
	}
	require.False(t, table.merge(stale, time.Now()), "nothing is")
	one, _, _ = table.find("one")
	require.Equal(t, tenants.Active, one.State, "what is read later counts")
}
