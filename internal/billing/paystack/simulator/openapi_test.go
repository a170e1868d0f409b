package simulator

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
)

// The description is good for routes and names; Paystack's own samples don't validate against it strictly.
func description(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join("testdata", "paystack-openapi.yaml"))
	require.NoError(t, err)
	return doc
}

func TestRoutes_AreInTheDescription(t *testing.T) {
	t.Parallel()
	doc := description(t)
	for _, rt := range routes() {
		item := doc.Paths.Find(rt.path)
		require.NotNil(t, item, rt.path)
		require.NotNil(t, item.GetOperation(rt.method), "%s %s", rt.method, rt.path)
	}
}

func TestInitialize_FieldNamesAreInTheDescription(t *testing.T) {
	t.Parallel()
	schema := description(t).Components.Schemas["TransactionInitialize"].Value
	for _, name := range []string{"email", "amount", "currency", "reference", "callback_url", "label", "metadata"} {
		require.Contains(t, schema.Properties, name)
	}
}

func TestTransaction_FieldNamesAreInTheDescription(t *testing.T) {
	t.Parallel()
	known := description(t).Components.Schemas["VerifyResponse"].Value.Properties["data"].Value.Properties
	text, err := json.Marshal(object{PlanObject: empty(), Subaccount: empty()})
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(text, &fields))
	for name := range fields {
		if name == "paidAt" || name == "createdAt" { // in Paystack's samples, not in its description
			continue
		}
		require.Contains(t, known, name)
	}
	for name := range known {
		require.Contains(t, fields, name, "a described field that the simulator leaves out")
	}
}

func TestCards_AreWellFormed(t *testing.T) {
	t.Parallel()
	for _, c := range cards() {
		require.Equal(t, c.Number, strings.ReplaceAll(c.Grouped(), " ", ""))
		require.GreaterOrEqual(t, len(c.Number), 16)
	}
}
