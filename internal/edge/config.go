package edge

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// object is a piece of Caddy's JSON configuration.
type object = map[string]any

// config returns what Caddy runs: no admin endpoint, nothing written to disk, no certificates of its own, no secrets at all.
func (e *Edge) config() (*caddy.Config, error) {
	document, err := json.Marshal(object{
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"logging": object{"logs": object{"default": e.logging()}},
		"apps": object{
			"tls": e.tlsApp(),
			"http": object{
				"grace_period": e.opts.DrainTimeout.String(),
				"servers":      e.servers(),
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("write Caddy's configuration: %w", err)
	}
	config := new(caddy.Config)
	if err := json.Unmarshal(document, config); err != nil {
		return nil, fmt.Errorf("read Caddy's configuration: %w", err)
	}
	return config, nil
}

func (e *Edge) servers() object {
	servers := object{"edge": e.server()}
	if e.tls != nil {
		servers[tlsServerName] = e.tlsServer()
	}
	return servers
}

// logging sends all to our own core, and nothing to a writer of Caddy's, which would encode each request for lines that are never written.
func (e *Edge) logging() object {
	return object{
		"level": "FATAL", "writer": object{"output": "discard"},
		"core": object{"module": "odoohost", "edge": e.id},
	}
}

const (
	slowestUpload = 512             // bytes a second, on average, once SlowClient is over
	slowReader    = 2 * time.Minute // for the next 64 KiB of an answer
)

// server bounds what a client may hold: headers by time and size, a body that stalls or trickles, an answer that isn't read. There is no
// limit on how long a request may take in all: uploads, reports and WebSockets take what they take.
func (e *Edge) server() object {
	server := object{
		"listen":              []string{e.opts.Listen},
		"listener_wrappers":   []object{{"wrapper": "odoohost", "edge": e.id}},
		"protocols":           []string{"h1"},
		"automatic_https":     object{"disable": true},
		"read_header_timeout": "10s",
		"read_idle_timeout":   e.opts.SlowClient.String(),
		"read_min_rate":       slowestUpload,
		"write_idle_timeout":  slowReader.String(),
		"idle_timeout":        "2m",
		"max_header_bytes":    32 << 10,
		"routes": []object{{"handle": []object{
			{"handler": "odoohost_gate", "edge": e.id},
			{"handler": "encode", "encodings": object{"zstd": object{}, "gzip": object{}}, "prefer": []string{"zstd", "gzip"}, "minimum_length": 1024},
			e.proxy(),
		}}},
	}
	// Only what Caddy refuses before the gate sees it ends up here.
	server["errors"] = object{"routes": []object{{"handle": []object{
		{"handler": "headers", "response": object{"delete": []string{"Server"}}},
		{"handler": "static_response", "status_code": "{http.error.status_code}"},
	}}}}
	if len(e.opts.TrustedProxies) > 0 {
		server["trusted_proxies"] = object{"source": "static", "ranges": prefixes(e.opts.TrustedProxies)}
		server["trusted_proxies_strict"] = 1 // read from the right, so that a forged first entry never counts
	}
	return server
}

func (e *Edge) proxy() object {
	return object{
		"handler":           "reverse_proxy",
		"dynamic_upstreams": object{"source": "odoohost"},
		"headers":           object{"request": object{"set": forwardedHeaders()}},
		"transport": object{
			"protocol":     "http",
			"dial_timeout": "3s",
			"compression":  false, // pass on what the client accepts, nothing of our own
			// Odoo's workers hang up after 2 idle seconds; a connection must not be reused just then.
			"keep_alive": object{"enabled": true, "idle_timeout": "1s", "max_idle_conns_per_host": 64},
		},
	}
}

func prefixes(list []netip.Prefix) []string {
	out := make([]string, 0, len(list))
	for _, p := range list {
		out = append(out, p.String())
	}
	return out
}
