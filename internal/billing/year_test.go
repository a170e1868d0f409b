package billing_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing/paystack/simulator"
)

const yearSubscribers = 200

// yearSeed is what chance begins with: YEAR_SEED tries another year.
func yearSeed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("YEAR_SEED") //nolint:forbidigo // tests have no config package
	if text == "" {
		text = "2026"
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err, "YEAR_SEED is a number")
	t.Logf("YEAR_SEED=%d", seed)
	return seed
}

func TestYear(t *testing.T) {
	t.Parallel()
	y := setupYear(t, yearSeed(t), yearSubscribers)
	y.live(365)
	y.tidy()
	y.complete()
	struck := y.sim.Struck()
	for _, kind := range simulator.FaultKinds() {
		require.Positive(t, struck[kind], "%s never struck", kind)
	}
	y.tell()
}

// The same seed is the same year, to the last kobo and minute.
func TestYear_RepeatsExactly(t *testing.T) {
	t.Parallel()
	seed := yearSeed(t)
	play := func(seed uint64) []string {
		y := setupYear(t, seed, 20)
		y.live(90)
		y.tidy()
		y.complete()
		return y.outcome()
	}
	first, again := play(seed), play(seed)
	for i := range min(len(first), len(again)) {
		require.Equal(t, first[i], again[i], "line %d of %d", i, len(first))
	}
	require.Equal(t, digest(first), digest(again))
	require.Greater(t, len(first), 500)
	t.Logf("%d lines, SHA-256 %s", len(first), digest(first))
}

func digest(lines []string) string {
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:])
}

// live lets days go by, with mishaps and whims, and checks each of them.
func (y *year) live(days int) {
	y.t.Helper()
	for range days {
		y.day++
		for i, p := range y.people { // not all on one day
			if p.met == 0 && i%20 == y.day-1 {
				y.begin(p)
			}
		}
		y.mishaps()
		asleep := y.one(40)           // our job doesn't run
		looks := 1 + y.rand.IntN(4)/3 // of our jobs at the world
		for range looks {
			y.sim.Advance(24 * time.Hour / time.Duration(looks))
			if !asleep {
				y.work()
			}
			y.whims()
		}
		y.office()
		require.NoError(y.t, y.sim.Settle(y.t.Context()))
		y.drain() // what is decided is done by the evening
		y.partings()
		y.fair()
		if y.day%10 == 0 {
			_, _ = y.Reconcile(y.t.Context()) // the gateway may not answer today
		}
	}
}

// tidy ends what is under way, without mishaps.
func (y *year) tidy() {
	y.t.Helper()
	y.sim.ClearFaults()
	for range 12 {
		y.day++
		y.pass(24*time.Hour, 12*time.Hour)
		for _, d := range y.sim.Disputes() {
			if d.Status != "resolved" {
				require.NoError(y.t, y.sim.DecideDispute(d.ID, false))
			}
		}
		for _, r := range y.sim.Refunds() {
			if r.Status != "processed" && r.Status != "failed" {
				require.NoError(y.t, y.sim.FinishRefund(r.ID, "processed"))
			}
		}
		for _, reference := range y.references(`WHERE p.review IS NOT NULL AND p.status IN ('pending', 'failed') ORDER BY id`) {
			y.giveBack(reference)
		}
		y.fair()
	}
}
