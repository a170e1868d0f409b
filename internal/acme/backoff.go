package acme

import (
	"errors"
	"regexp"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

const (
	rateLimitWait    = time.Hour          // at least, when the CA says that we ask too often
	longestRateLimit = 7 * 24 * time.Hour // what a CA may make us wait; its longest window is a week
)

// waits are the pauses after the first, second, … failure; the last one repeats for ever. A CA counts failures per name and hour: these
// are four in the first one, where Let's Encrypt's limit is five.
func waits() []time.Duration {
	return []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour}
}

// retryAt returns when the CA is asked again after it has failed for the failures-th time with err. It never gives up.
func retryAt(now time.Time, failures int, err error) time.Time {
	list := waits()
	wait := list[min(max(failures, 1), len(list))-1]
	var problem acme.Problem
	if !errors.As(err, &problem) || problem.Type != acme.ProblemTypeRateLimited {
		return now.Add(wait)
	}
	wait = max(wait, rateLimitWait)
	if until, ok := retryAfter(problem.Detail); ok && until.After(now.Add(wait)) {
		return earlier(until, now.Add(longestRateLimit))
	}
	return now.Add(wait)
}

// retryAfterText is how Let's Encrypt says until when a limit lasts; the header by which it says so too doesn't get through to us.
var retryAfterText = regexp.MustCompile(`retry after (\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?: ?UTC|Z)`) //nolint:gochecknoglobals // a constant

func retryAfter(detail string) (time.Time, bool) {
	found := retryAfterText.FindStringSubmatch(detail)
	if found == nil {
		return time.Time{}, false
	}
	until, err := time.Parse(time.DateTime, found[1]+" "+found[2])
	return until, err == nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
