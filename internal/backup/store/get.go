package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"controlplane/internal/backup"
)

// resumptions is how often a download that gives nothing in between is begun again.
const resumptions = 5

// Get begins the download, so that an object that isn't there is known at once.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	d := &download{store: s, ctx: ctx, key: key}
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// download goes on where a lost or stalled connection left it. It only ever reads the object that it began with.
type download struct {
	store *Store
	ctx   context.Context //nolint:containedctx // a reader has no other way to be cancelled
	key   string
	at    int64
	etag  *string
	left  int // resumptions
	body  io.ReadCloser
	stop  context.CancelFunc
	watch *time.Timer
}

func (d *download) open(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	in := &s3.GetObjectInput{Bucket: aws.String(d.store.bucket), Key: aws.String(d.key)}
	if d.at > 0 {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", d.at))
		in.IfMatch = d.etag
	}
	out, err := d.store.streams.GetObject(ctx, in)
	if err != nil {
		stop()
		return classify(fmt.Errorf("read %s: %w", d.key, err))
	}
	if got := aws.ToString(out.ContentRange); d.at > 0 && !strings.HasPrefix(got, fmt.Sprintf("bytes %d-", d.at)) {
		stop()
		_ = out.Body.Close()
		return backup.ErrStoreRefused.WithCause(fmt.Errorf("read %s from byte %d: the answer is of the range %q", d.key, d.at, got))
	}
	if d.etag == nil {
		d.etag = out.ETag
		d.left = resumptions
	}
	d.body, d.stop = out.Body, stop
	d.watch = time.AfterFunc(d.store.stall, stop)
	d.watch.Stop()
	return nil
}

// Read reads on, from another connection if need be.
func (d *download) Read(p []byte) (int, error) {
	for {
		if d.body == nil {
			if err := d.open(d.ctx); err != nil {
				return 0, err
			}
		}
		d.watch.Reset(d.store.stall)
		n, err := d.body.Read(p)
		d.watch.Stop()
		d.at += int64(n)
		if n > 0 {
			d.left = resumptions
		}
		switch {
		case err == nil || errors.Is(err, io.EOF):
			return n, err
		case d.ctx.Err() != nil:
			return n, d.ctx.Err()
		case d.left == 0:
			return n, backup.ErrStoreUnreachable.WithCause(fmt.Errorf("read %s from byte %d: %w", d.key, d.at, err))
		}
		d.left--
		d.close()
		if n > 0 {
			return n, nil
		}
	}
}

// Close ends the download.
func (d *download) Close() error {
	d.close()
	return nil
}

func (d *download) close() {
	if d.body == nil {
		return
	}
	d.watch.Stop()
	d.stop()
	_ = d.body.Close()
	d.body = nil
}
