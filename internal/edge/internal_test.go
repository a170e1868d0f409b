package edge

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/tenants"
)

// Whatever a JSON parser takes for a call of the database service, the scanner must, in whatever pieces it comes.
func FuzzRPCScanner(f *testing.F) {
	for _, seed := range []string{
		`{"params":{"service":"db"}}`, `{"params":{"service":"object","args":[{"a":"b"}]}}`, `{"p\u0061rams":{"service":"\u0064b"}}`,
		`{"params":{"x":"\\","service":"db"}}`, `{"params":{"x":["}",{"]":1}],"service":"db"}}`, `[{"params":{"service":"db"}}]`, `{"params":{},"a":{"service":"db"}}`,
		`{"params":[["service","db"]]}`, `{"a":[],"params" : [ {"service":1,"db":2}]}`,
	} {
		f.Add(seed, 3)
	}
	f.Fuzz(func(t *testing.T, text string, piece int) {
		var top map[string]json.RawMessage
		var params map[string]any
		if json.Unmarshal([]byte(text), &top) != nil {
			return
		}
		list := strings.HasPrefix(string(top["params"]), "[")
		if !list && (json.Unmarshal(top["params"], &params) != nil || params["service"] != "db") {
			return
		}
		var s rpcScanner
		var err error
		for rest := []byte(text); len(rest) > 0 && err == nil; {
			n := min(max(piece, 1), len(rest))
			err = s.scan(rest[:n])
			rest = rest[n:]
		}
		require.Error(t, err, "%q", text)
	})
}

func FuzzClassify(f *testing.F) {
	for _, seed := range []string{"/web/database", "/web/%64atabase", "//x/../web/database", "/%", "/a;b/../..", "/\\"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := url.ParseRequestURI(text)
		if err != nil {
			return
		}
		kind := classify(u).kind
		if strings.HasPrefix(u.Path, "/web/database/") || u.Path == "/xmlrpc/2/db" {
			require.Contains(t, []pathKind{pathForbidden, pathMalformed}, kind, "%q", text)
		}
	})
}

func TestTable_NamesAreUsedAgain(t *testing.T) {
	t.Parallel()
	table := newTable()
	_, _, loaded := table.find("acme")
	require.False(t, loaded)
	table.merge([]tenants.Route{{TenantID: 1, Host: "acme"}}, time.Now())
	table.set(tenants.Route{TenantID: 2, Host: "acme"})
	table.drop(1) // the late news of the deletion
	route, found, loaded := table.find("acme")
	require.True(t, found)
	require.True(t, loaded)
	require.Equal(t, tenants.ID(2), route.TenantID)

	table.set(tenants.Route{TenantID: 2, Host: "renamed"})
	_, found, _ = table.find("acme")
	require.False(t, found)
	require.Equal(t, 1, table.status().Routes)
}

func TestPages_EveryStateHasOne(t *testing.T) {
	t.Parallel()
	p, err := newPages(brand{Name: `<script>"Brand"`, Color: defaultColor})
	require.NoError(t, err)
	for _, state := range tenants.States() {
		require.Contains(t, p.html, pageOf(state), "%s", state)
	}
	for id, text := range p.html {
		require.NotContains(t, string(text), `<script>"`, id)
		require.NotContains(t, string(text), "src=", "%s: nothing from elsewhere", id)
		require.Less(t, len(text), 6<<10)
	}
}

func TestTable_DomainsGoWithTheirTenant(t *testing.T) {
	t.Parallel()
	table := newTable()
	owner := func(host string) tenants.ID {
		r, _, _ := table.find(host)
		return r.TenantID
	}
	table.merge([]tenants.Route{{TenantID: 1, Host: "a.host", Domains: []string{"a.com", "b.com"}}, {TenantID: 2, Host: "b.host"}}, time.Now())
	require.Equal(t, 2, table.status().Routes, "tenants, not addresses")
	require.Len(t, table.all(), 2)
	require.Equal(t, tenants.ID(1), owner("b.com"))
	require.True(t, table.ownDomain("b.com"))
	require.False(t, table.ownDomain("a.host"))
	require.False(t, table.ownDomain("c.com"))

	table.set(tenants.Route{TenantID: 2, Host: "b.host", Domains: []string{"b.com"}}) // told before the other's loss is
	require.Equal(t, tenants.ID(2), owner("b.com"))
	table.set(tenants.Route{TenantID: 1, Host: "a.host", Domains: []string{"a.com"}})
	require.Equal(t, tenants.ID(2), owner("b.com"))
	table.set(tenants.Route{TenantID: 1, Host: "a.host"})
	require.Zero(t, owner("a.com"))
	table.drop(2)
	require.Zero(t, owner("b.com"))
	require.Zero(t, owner("b.host"))
	require.Equal(t, tenants.ID(1), owner("a.host"))
}
