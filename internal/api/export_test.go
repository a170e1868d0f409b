package api

import (
	"net/http"
	"net/netip"
)

// OpenAPIDocument lets the tests read the description without a server.
func OpenAPIDocument(opts Options) ([]byte, error) { return openAPIDocument(opts) }

// ClientIP lets the tests try requests.
func ClientIP(proxies []netip.Prefix, r *http.Request) netip.Addr {
	return (&server{opts: Options{TrustedProxies: proxies}}).clientIP(r)
}
