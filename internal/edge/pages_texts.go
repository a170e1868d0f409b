package edge

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"controlplane/internal/tenants"
)

// pageID names one of our own answers. It is the code of the problem document.
type pageID string

const (
	pageStarting     pageID = "starting"
	pageMoved        pageID = "moved"
	pageUnknown      pageID = "unknown"
	pageMisdirected  pageID = "misdirected"
	pageNotFound     pageID = "not_found"
	pageBadRequest   pageID = "bad_request"
	pageUnsupported  pageID = "unsupported_encoding"
	pageTooLarge     pageID = "too_large"
	pageTimeout      pageID = "request_timeout"
	pageTooMany      pageID = "too_many_requests"
	pageBusy         pageID = "busy"
	pageNotAnswering pageID = "not_answering"
	pageAPIDown      pageID = "api_not_answering"
	pagePending      pageID = "pending"
	pageProvisioning pageID = "provisioning"
	pageSuspended    pageID = "suspended"
	pageSleeping     pageID = "sleeping"
	pageMaintenance  pageID = "maintenance"
	pageFailed       pageID = "failed"
	pageScheduled    pageID = "scheduled_for_deletion"
	pageGone         pageID = "gone"
)

// page is one answer. A browser asks again after Refresh seconds by itself; Retry only tells API clients. Support is offered where
// waiting doesn't help.
type page struct {
	Status  int
	Title   string
	Text    string
	Retry   int
	Refresh int
	Support bool
}

var texts = map[pageID]page{ //nolint:gochecknoglobals // a constant table
	pageStarting: {Status: 503, Title: "One moment", Text: "This server has just been started and isn't ready yet.", Retry: 2, Refresh: 2},
	pageMoved:    {Status: 308, Title: "Please use https", Text: "This address is served over an encrypted connection only."},
	pageUnknown:  {Status: 404, Title: "Nothing here", Text: "There is no Odoo at this address. Check the spelling of its name."},
	pageMisdirected: {
		Status: 421, Title: "Not our address", Text: "This server isn't responsible for the address that you asked for.",
	},
	pageNotFound:   {Status: 404, Title: "Not found", Text: "This page doesn't exist."},
	pageBadRequest: {Status: 400, Title: "Bad request", Text: "This request can't be understood."},
	pageUnsupported: {
		Status: 415, Title: "Unsupported encoding", Text: "JSON-RPC calls must be plain UTF-8, without content encoding.",
	},
	pageTooLarge: {Status: 413, Title: "Too large", Text: "What you sent is larger than this Odoo takes at once."},
	pageTimeout:  {Status: 408, Title: "Too slow", Text: "What you sent didn't arrive in time. Check the connection and try again."},
	pageTooMany: {
		Status: 429, Title: "Too many requests", Text: "Too much was asked for from your address in a short time. Wait a moment, then try again.",
		Retry: 1,
	},
	pageBusy: {
		Status: 503, Title: "Very busy", Text: "This Odoo has as many visitors as it can take right now. Please try again in a moment.",
		Retry: 5, Refresh: 10,
	},
	pageNotAnswering: {
		Status: 503, Title: "Odoo isn't answering",
		Text: "This Odoo is there but doesn't answer right now. It may be restarting; please try again in a moment.", Retry: 5, Refresh: 5,
	},
	pageAPIDown: {Status: 503, Title: "Not available", Text: "The service doesn't answer right now. Please try again in a moment.", Retry: 5},
	pagePending: {
		Status: 402, Title: "Waiting for payment", Text: "This Odoo has been reserved and starts as soon as it is paid for.", Support: true,
	},
	pageProvisioning: {
		Status: 503, Title: "Your Odoo is being prepared",
		Text: "This takes a few seconds. The page comes back by itself when it is ready.", Retry: 2, Refresh: 2,
	},
	pageSuspended: {
		Status: 503, Title: "Suspended", Text: "This Odoo has been suspended. Nothing is lost; its owner can find out more in their account.",
		Retry: 3600, Support: true,
	},
	pageSleeping: {
		Status: 503, Title: "Waking up", Text: "This Odoo was asleep and is being woken. The page comes back by itself.", Retry: 5, Refresh: 5,
	},
	pageMaintenance: {
		Status: 503, Title: "Maintenance", Text: "This Odoo is being maintained and will be back soon. The page comes back by itself.",
		Retry: 60, Refresh: 30,
	},
	pageFailed: {
		Status: 503, Title: "Something went wrong",
		Text: "This Odoo couldn't be started. Our staff know and are looking after it; its payment isn't lost.", Retry: 600, Support: true,
	},
	pageScheduled: {
		Status: 503, Title: "Going to be deleted",
		Text: "This Odoo has been switched off and is going to be deleted. Its owner can still cancel that.", Retry: 3600, Support: true,
	},
	pageGone: {Status: 410, Title: "Deleted", Text: "This Odoo has been deleted.", Support: true},
}

// pageOf returns what a tenant's address shows in a state in which it can't be reached.
func pageOf(state tenants.State) pageID {
	switch state {
	case tenants.Pending:
		return pagePending
	case tenants.Provisioning:
		return pageProvisioning
	case tenants.Suspended:
		return pageSuspended
	case tenants.Sleeping:
		return pageSleeping
	case tenants.Maintenance:
		return pageMaintenance
	case tenants.Failed:
		return pageFailed
	case tenants.Scheduled:
		return pageScheduled
	case tenants.Deleting, tenants.Deleted:
		return pageGone
	case tenants.Active: // without an address
	}
	return pageNotAnswering
}

func pageOfBodyError(err error, body *watchedBody) pageID {
	switch {
	case body.tooSlow():
		return pageTimeout
	case errors.Is(err, errDatabaseService):
		return pageNotFound
	case errors.Is(err, errOddEncoding):
		return pageUnsupported
	}
	return pageBadRequest
}

// pageOfProxyError returns what to say when the proxy gave up. Errors of reading the body are the client's.
func pageOfProxyError(err error, body *watchedBody) pageID {
	var tooLarge *http.MaxBytesError
	var handler caddyhttp.HandlerError
	switch {
	case body.tooSlow():
		return pageTimeout
	case errors.As(err, &tooLarge):
		return pageTooLarge
	case errors.Is(err, errDatabaseService), errors.Is(err, errOddEncoding):
		return pageOfBodyError(err, body)
	case body.broken(), errors.As(err, &handler) && handler.StatusCode < http.StatusInternalServerError:
		return pageBadRequest
	}
	return pageNotAnswering
}
