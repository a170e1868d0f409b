package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// webhooks delivers events at a fixed rate, each a new one, and measures until our answer. A delivery is sent at its own time, whether
// or not the ones before it were answered, so that a stall counts for all that it delays.
func (b *bench) webhooks(ctx context.Context) error {
	key := b.p.Setting("PAYSTACK_SECRET_KEY")
	var mu sync.Mutex
	var took []time.Duration
	var failed int
	var wg sync.WaitGroup
	ticker := time.NewTicker(time.Second / webhooksPerSec)
	defer ticker.Stop()
	for i := range webhooksPerSec * webhookSeconds {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		wg.Go(func() {
			d, err := b.deliver(ctx, key, i)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
				return
			}
			took = append(took, d)
		})
	}
	wg.Wait()
	if len(took) == 0 {
		return errors.New("no webhook was answered with 200")
	}
	slices.Sort(took)
	fmt.Printf("webhook acknowledged at %d/s for %d s: p50 %v, p99 %v (target < 20 ms), max %v, failed %d\n", webhooksPerSec, webhookSeconds,
		took[len(took)/2].Round(10*time.Microsecond), took[len(took)*99/100].Round(10*time.Microsecond), took[len(took)-1].Round(10*time.Microsecond), failed)
	return nil
}

func (b *bench) deliver(ctx context.Context, key string, i int) (time.Duration, error) {
	body := fmt.Sprintf(`{"event":"charge.success","data":{"id":%d,"domain":"test","status":"success","reference":"bench-%d","amount":500000,"currency":"NGN"}}`, 9_000_000_000+i, i)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.p.API+"/api/payments/webhook", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Paystack-Signature", sign(key, body))
	start := time.Now()
	resp, err := b.http.Do(req)
	if err != nil {
		return 0, err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %d", resp.StatusCode)
	}
	return time.Since(start), nil
}

// memory prints the resident memory of each process of ours that belongs to this platform, after all the measurements.
func (b *bench) memory(context.Context) error {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		args, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || !strings.Contains(strings.ReplaceAll(string(args), "\x00", " "), "controlplane") {
			continue
		}
		status, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil {
			continue
		}
		name := subcommand(string(args))
		if rss := residentMB(string(status)); name != "" && rss > 0 {
			fmt.Printf("memory: %-20s %4d MB (target < 150)\n", name, rss)
		}
	}
	return nil
}

// subcommand names one of our processes, and is "" for any other.
func subcommand(cmdline string) string {
	for arg := range strings.SplitSeq(cmdline, "\x00") {
		if slices.Contains([]string{"dev", "serve", "edge", "paystack-simulator", "netguard"}, arg) {
			return arg
		}
	}
	return ""
}

func residentMB(status string) int {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kb / 1024
		}
	}
	return 0
}
